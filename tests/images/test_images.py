"""What is in the images, and what is not."""

from __future__ import annotations

import json

import pytest

from tests.images import engine

ABSENT = ("pip", "pip3", "uv", "cc", "gcc", "g++", "ld", "make")


def test_the_gateway_is_small(base: str, images: dict[str, str]) -> None:
    over_base = engine.inspect(images["gateway"])["Size"] - engine.inspect(base)["Size"]
    assert over_base < 200e6


def test_torch_is_one_layer_of_three_images(images: dict[str, str]) -> None:
    torch = f"{engine.SITE_PACKAGES}/torch/__init__.py"
    assert len({engine.layer_with(images[process], torch) for process in engine.MODEL_PROCESSES}) == 1


def test_two_builds_of_the_gateway_are_the_same_image(base: str, images: dict[str, str]) -> None:
    for tag in ("once", "again"):
        engine.build(base, "gateway", options=("--no-cache",), TRIVIUM_TAG=tag)
    once, again = (engine.inspect(engine.name_of("gateway", tag)) for tag in ("once", "again"))
    assert (once["Id"], once["Digest"]) == (again["Id"], again["Digest"])


@pytest.mark.parametrize("process", engine.PROCESSES)
def test_an_image_holds_nothing_that_installs_or_compiles(images: dict[str, str], process: str) -> None:
    search = f"for name in {' '.join(ABSENT)}; do command -v $name; done; ls /opt/tools /run/secrets"
    found = engine.run(images[process], "sh", "-c", search)
    assert found.stdout.strip() in ("", "/run/secrets:")
    for module in ("pip", "ensurepip"):
        assert f"No module named {module}" in engine.run(images[process], "python3", "-m", module).stderr


@pytest.mark.parametrize("process", engine.PROCESSES)
def test_a_container_writes_only_where_it_is_allowed_to(images: dict[str, str], process: str) -> None:
    writing = "id -u; id -g; touch /tmp/a /cache/a && ! touch /app/a && ! touch /opt/venv/a && ! touch /models/a"
    finished = engine.run(images[process], "sh", "-c", writing)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["10001", "10001"]


@pytest.mark.parametrize(
    ("process", "rooms"),
    [
        ("gateway", {"chassis", "cli", "gateway", "protos"}),
        ("cli", {"chassis", "cli", "protos"}),
        ("retriever", {"chassis", "cli", "protos", "services", "services/retriever"}),
        ("reranker", {"chassis", "cli", "protos", "services", "services/reranker"}),
        ("generator", {"chassis", "cli", "protos", "services", "services/generator"}),
    ],
)
def test_an_image_holds_only_the_code_that_its_process_may_import(
    images: dict[str, str], process: str, rooms: set[str]
) -> None:
    listing = "find . services -mindepth 1 -maxdepth 1 -type d ! -name __pycache__ 2>/dev/null | sed 's|^[.]/||'"
    assert set(engine.run(images[process], "sh", "-c", listing).stdout.split()) == rooms


@pytest.mark.parametrize("process", engine.PROCESSES)
def test_the_bill_of_materials_lists_every_installed_package(images: dict[str, str], process: str) -> None:
    listing = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    installed = json.loads(engine.run(images[process], "python", "-c", listing).stdout)
    bill = json.loads(engine.run(images[process], "cat", "/usr/share/sbom/trivium.cdx.json").stdout)
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "trivium"
    assert {one["name"]: one["version"] for one in bill["components"]} == installed
    assert "grpcio" in installed


@pytest.mark.parametrize("process", engine.PROCESSES)
def test_an_image_says_what_it_is(images: dict[str, str], process: str) -> None:
    labels = engine.inspect(images[process])["Labels"]
    assert labels["org.opencontainers.image.title"] == f"trivium-{process}"
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert len(labels["org.opencontainers.image.revision"]) == 40


def test_no_layer_remembers_how_the_index_was_reached(images: dict[str, str]) -> None:
    for image in images.values():
        described = engine.inspect(image)
        assert not [line for line in described["Config"]["Env"] if line.startswith(("PIP_", "UV_", "SSL_"))]
        assert "INDEX" not in json.dumps(described["History"])
