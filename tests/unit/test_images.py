"""The recipe, compose and the requirement files agree with each other and with the processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.system import MODULE_BY_PROCESS

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
IMAGE_BY_PROCESS = {process: process for process in MODULE_BY_PROCESS} | {"indexer": "retriever"}


def pins(name: str) -> set[str]:
    """Every `package==version` of one requirement file."""
    return set(re.findall(r"^([a-z0-9][^ ]+==[^ ]+) ", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))


def entry_points() -> dict[str, str]:
    """Module by stage of the Containerfile, for the stages that run a module."""
    return dict(
        re.findall(r'^FROM \w+ AS (\w+)\n(?:(?!FROM).*\n)*?ENTRYPOINT \["python", "-m", "(.+?)"\]', CONTAINERFILE, re.M)
    )


def installed_files(stage: str) -> list[str]:
    """The requirement files that a stage of the Containerfile and those below it install."""
    stages = {
        name: (below, re.findall(r"^COPY requirements/(\w+)\.txt", body, re.M))
        for below, name, body in re.findall(r"^FROM (\S+) AS (\w+)\n((?:(?!FROM).*\n)*)", CONTAINERFILE, re.M)
    }
    found: list[str] = []
    while stage in stages:
        stage, files = stages[stage]
        found += files
    return found


def test_every_process_has_an_image_that_runs_it() -> None:
    modules = {process: module for process, module in MODULE_BY_PROCESS.items() if process != "indexer"}
    assert entry_points() == modules | {"cli": "cli"}


@pytest.mark.parametrize(
    "name", ["model", "gateway", "retriever", "reranker", "generator", "generator-ctranslate2", "cli"]
)
def test_every_image_pins_what_the_tests_ran_with(name: str) -> None:
    assert pins(name) - pins("dev") == set()


def test_the_gateway_needs_nothing_that_every_image_does_not_carry() -> None:
    assert pins("gateway") <= pins("cli")


@pytest.mark.parametrize("process", ["gateway", "retriever", "reranker", "generator", "cli"])
def test_an_image_installs_all_that_its_process_needs(process: str) -> None:
    installed = set().union(*map(_packages, installed_files(process)))
    assert _packages(process) <= installed


def test_the_reranker_needs_nothing_that_the_retriever_does_not() -> None:
    assert _packages("reranker") <= _packages("retriever")


def test_compose_runs_every_process_and_its_health_check_asks_the_health_port() -> None:
    services = {name: service for name, service in COMPOSE.items() if "profiles" not in service}
    assert services.keys() == MODULE_BY_PROCESS.keys()
    for number, (process, service) in enumerate((name, services[name]) for name in MODULE_BY_PROCESS):
        assert f"trivium-}}{IMAGE_BY_PROCESS[process]}:" in service["image"]
        assert service["healthcheck"]["test"][-1] == f"127.0.0.1:{7200 + number}"


@pytest.mark.parametrize("process", MODULE_BY_PROCESS)
def test_composes_settings_are_settings(process: str) -> None:
    known = set(re.findall(rf"`({process.upper()}_\w+)`", (ROOT / "docs/settings.md").read_text()))
    gpu = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())["services"].get(process, {})
    assert COMPOSE[process]["environment"].keys() | gpu.get("environment", {}).keys() <= known


def _packages(name: str) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(name)}
