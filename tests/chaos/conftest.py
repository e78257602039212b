"""Two replicas of each stage, whose generators write slowly: something to interrupt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.otlp import SpanReceiver
from cli.system import System
from tests.installation import ROOT, Installation
from tests.unit.seeded_generators import save_t5


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, receiver: SpanReceiver) -> Iterator[Installation]:
    """One gateway, one indexer, and two of each stage."""
    folder = tmp_path_factory.mktemp("pairs")
    model = folder / "t5"
    save_t5(model, min_length=10_000)  # never says that it is done
    system = System(
        collections_path=folder / "collections",
        replicas={"retriever": 2, "reranker": 2, "generator": 2},
        settings={
            **{stage: {"OMP_NUM_THREADS": "1"} for stage in ("retriever", "indexer", "reranker")},
            "generator": {"OMP_NUM_THREADS": "1", "GENERATOR_ENGINE": "seq2seq", "GENERATOR_MODEL": str(model)},
        },
        otlp_endpoint=receiver.endpoint,
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        installation = Installation(processes, folder, receiver)
        installation.ingest(ROOT / "README.md", ROOT / "docs" / "operations.md")
        with installation.connected():
            yield installation
