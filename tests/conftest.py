"""Real processes for the tests, started once and shared: nothing is left running afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.otlp import SpanReceiver
from cli.system import System
from tests.installation import ROOT, Installation

REFLECTION = {"REFLECTION": "true"}
PATIENT = {"system", "chaos", "trace"}
"""Folders of tests that start several processes, which a busy machine may take minutes for."""
PATIENCE_S = 1_200
PROCESSES = ("gateway", "retriever", "indexer", "reranker", "generator")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in PATIENT or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


@pytest.fixture(scope="session")
def receiver() -> Iterator[SpanReceiver]:
    """A real OTLP receiver, to which every process of `trivium` exports."""
    with SpanReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def trivium(tmp_path_factory: pytest.TempPathFactory, receiver: SpanReceiver) -> Iterator[Installation]:
    """The five processes on embedded models, with this project's own documentation published."""
    folder = tmp_path_factory.mktemp("trivium")
    system = System(
        collections_path=folder / "collections",
        settings={name: {f"{name.upper()}_REFLECTION": "true"} for name in PROCESSES},
        otlp_endpoint=receiver.endpoint,
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        installation = Installation(processes, folder, receiver)
        installation.ingest(ROOT / "docs", ROOT / "README.md")
        with installation.connected():
            yield installation
