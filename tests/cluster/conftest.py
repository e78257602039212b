"""One cluster for all tests of this folder, with the images in it; releases, each in a namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import cluster, debian, images
from tests.cluster.layout import HOME
from tests.cluster.release import Release
from tests.images import engine

KEEP = bool(os.environ.get("CLUSTER_KEEP"))
"""Use a cluster that is up with its images, and leave it up: for work on these tests."""

IMAGES = ("gateway", "retriever", "reranker", "generator", "cli")

_releases: list[Release] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(2400))  # the first one builds everything


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """After a failure: what every release looks like and has logged."""
    report = yield
    if getattr(report, "failed", False):
        for release in _releases:
            folder = HOME / "failures" / item.name / release.namespace
            release.write_state(folder)
            print(f"state and logs: {folder}")
    return report


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[None]:
    """A cluster that is up, with the images of this tree in it."""
    try:
        debian.prepare()
    except debian.Unprepared as reason:
        pytest.skip(f"no cluster on this machine: {reason}")
    if not (KEEP and cluster.is_up()):
        cluster.build()
        engine.build(engine.base(), *IMAGES)
        cluster.up()
        images.load(*map(engine.name_of, IMAGES))
    yield
    if not KEEP:
        cluster.down()


@pytest.fixture(scope="module")
def release(kubernetes: None, request: pytest.FixtureRequest) -> Iterator[Release]:
    """The module's release, not yet installed: its namespace, its documents and its volume are there."""
    with _prepared(request.module.__name__.rpartition("test_")[2]) as release:
        yield release


@pytest.fixture(scope="session")
def installed(kubernetes: None) -> Iterator[Release]:
    """One release with the values for a CPU, for all modules that leave it as they found it."""
    with _prepared("shared") as release:
        release.install()
        yield release


@contextmanager
def _prepared(namespace: str) -> Iterator[Release]:
    release = Release(namespace)
    _releases.append(release)
    release.prepare()
    try:
        yield release
    finally:
        _releases.remove(release)
        release.remove()
