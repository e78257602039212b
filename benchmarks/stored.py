"""Collections of synthetic passages, written by the indexer's own writer without an encoder."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import synthetic
from chassis.executor import SingleThread
from services.retriever.analyzer import Analyzer
from services.retriever.collection import Collection, Settings
from services.retriever.indexer import writer as writers
from services.retriever.indexer.publisher import Recipe
from services.retriever.indexer.versions import Retention
from services.retriever.indexer.writer import CollectionWriter
from services.retriever.passage import Passage, numbered_id
from services.retriever.record import Upsert

ENCODER = {"kind": "synthetic", "dimension": str(synthetic.DIMENSION)}
RECIPE = Recipe(ENCODER, {"max_tokens": "128"}, synthetic.DIMENSION)
ANALYZER = Analyzer.of("en", stemming=False, stop_words=False)
"""Words that are numbers have neither stems nor stop words."""
PER_DOCUMENT = 100
NUM_WORDS = 30
TOGETHER = 20
"""Documents that share an fsync."""

writers.COMPACTION_PASSAGES = 1 << 60  # versions are made when they are measured


def create(folder: Path, name: str) -> Collection:
    """An empty collection."""
    collection = Collection.named(folder, name)
    collection.create(Settings(ANALYZER, datetime.now(UTC)))
    return collection


async def add(collection: Collection, num_passages: int, seed: int) -> None:
    """Store so many passages more, in documents of a hundred. Other seeds make other documents."""
    writer = _open(collection)
    step = PER_DOCUMENT * TOGETHER
    for begin in range(0, num_passages, step):
        size = min(step, num_passages - begin)
        texts = synthetic.texts(size, NUM_WORDS, seed=seed + begin)
        vectors = synthetic.vectors(size, seed=seed + begin)
        records = [
            _record(
                writer, f"d{seed:03d}-{begin + at:08d}", texts[at : at + PER_DOCUMENT], vectors[at : at + PER_DOCUMENT]
            )
            for at in range(0, size, PER_DOCUMENT)
        ]
        await asyncio.gather(*map(writer.append, records))
    await writer.close()


async def publish(collection: Collection) -> None:
    """Make a version of all that is stored."""
    writer = _open(collection)
    await writer.publish()
    await writer.close()


def _open(collection: Collection) -> CollectionWriter:
    return CollectionWriter(collection, RECIPE, Retention(2, timedelta(0)), SingleThread("log"))


def _record(writer: CollectionWriter, document_id: str, texts: list[str], vectors: synthetic.Vectors) -> Upsert:
    passages = tuple(
        Passage(numbered_id(document_id, number), document_id, "", (), text, "", None, 0, len(text))
        for number, text in enumerate(texts)
    )
    return Upsert(document_id, "", writer.made_by, passages, vectors)
