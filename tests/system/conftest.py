"""An indexer with a small seeded encoder, for corpora that the embedded one would take minutes for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.system import System, clean_environment
from services.retriever.collection import Collection
from services.retriever.config import EncoderConfig
from services.retriever.indexer.log import Log
from services.retriever.record import Location, Record, Upsert
from tests.unit.seeded_encoders import write_sentence_encoder

ONE_INDEXER = dict.fromkeys(("gateway", "retriever", "reranker", "generator"), 0)


@dataclass(frozen=True)
class SmallIndexer:
    address: str
    collections_path: Path
    model: Path
    environment: dict[str, str]
    """For commands that must have the same settings."""

    @property
    def encoder(self) -> EncoderConfig:
        return EncoderConfig(model=str(self.model), dtype="float32", device="cpu")

    def documents(self, collection: str) -> dict[str, Upsert]:
        """What its log holds, by id. Read beside the indexer, which is idle."""
        documents: dict[str, Upsert] = {}

        def note(location: Location, record: Record) -> None:
            assert isinstance(record, Upsert)
            documents[record.document_id] = record

        Log(Collection.named(self.collections_path, collection).log_path, note).close()
        return documents


@pytest.fixture(scope="session")
def small_indexer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallIndexer]:
    folder = tmp_path_factory.mktemp("small-indexer")
    model = write_sentence_encoder(folder / "model")
    settings = {"INDEXER_MODEL": str(model), "INDEXER_MAX_PASSAGE_TOKENS": "40", "INDEXER_DTYPE": "float32"}
    system = System(folder / "collections", replicas=ONE_INDEXER, device="cpu", settings={"indexer": settings})
    with system.processes() as processes:
        environment = clean_environment() | settings | {"INDEXER_DEVICE": "cpu"}
        yield SmallIndexer(processes.address_of("indexer"), folder / "collections", model, environment)
