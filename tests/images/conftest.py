"""All images, built once by the recipe on a base that needs no registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import debian
from tests.images import engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.images)
            item.add_marker(pytest.mark.timeout(1_800))  # the first one builds everything


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base image's name."""
    try:
        debian.prepare()
    except debian.Unprepared as reason:
        pytest.skip(f"no images on this machine: {reason}")
    configuration = tmp_path_factory.mktemp("podman") / "containers.conf"
    configuration.write_text(engine.CONTAINERS_CONF)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(configuration))
        yield engine.base()


@pytest.fixture(scope="session")
def images(base: str) -> dict[str, str]:
    """The name of every process's image."""
    engine.build(base, *engine.PROCESSES)
    names = {process: engine.name_of(process) for process in engine.PROCESSES}
    base_size = engine.inspect(base)["Size"]
    for process, name in names.items():
        print(f"{process:10} {(engine.inspect(name)['Size'] - base_size) / 1e6:8,.0f} MB over its base")
    return names
