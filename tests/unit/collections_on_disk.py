"""Collections with documents and published versions, made without a model: each text's vector is given."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from chassis.executor import SingleThread
from services.retriever.analyzer import Analyzer
from services.retriever.collection import Collection, Settings
from services.retriever.indexer.publisher import Recipe
from services.retriever.indexer.versions import Retention
from services.retriever.indexer.writer import CollectionWriter
from services.retriever.passage import Passage
from services.retriever.record import Upsert
from services.retriever.version import Version, load
from tests.waiting import wait_until

DIMENSION = 4
ENCODER = {"kind": "sentence", "weights": "abc", "dimension": str(DIMENSION)}
RECIPE = Recipe(ENCODER, {"max_tokens": "200"}, DIMENSION)
RETENTION = Retention(num_versions=100, age=timedelta(0))


def create(collections_path: Path, name: str = "docs") -> Collection:
    collection = Collection.named(collections_path, name)
    collection.create(Settings(Analyzer.of(), datetime.now(UTC)))
    return collection


def open_writer(collection: Collection, recipe: Recipe = RECIPE, retention: Retention = RETENTION) -> CollectionWriter:
    return CollectionWriter(collection, recipe, retention, SingleThread("log"))


def record(writer: CollectionWriter, document_id: str, *texts: str, content_hash: str = "") -> Upsert:
    """A document whose passages' vectors point where the lengths of their texts say."""
    passages = tuple(
        Passage(f"{document_id}#{number}", document_id, "", (), text, "", None, 0, len(text))
        for number, text in enumerate(texts)
    )
    vectors = np.array([[len(text), 1, number, 0] for number, text in enumerate(texts)], dtype=np.float32)
    return Upsert(document_id, content_hash or repr(texts), writer.made_by, passages, vectors)


async def publish_texts(collection: Collection, recipe: Recipe = RECIPE, /, **text_by_document_id: str) -> int:
    """Store the texts, one document each, and publish. Returns the index version."""
    writer = open_writer(collection, recipe)
    for document_id, text in text_by_document_id.items():
        await writer.append(record(writer, document_id, text))
    published = await writer.publish()
    await writer.close()
    return published.index_version


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """A disk that takes no file longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds. Raises AssertionError when it takes too long."""
    await asyncio.to_thread(wait_until, condition, 10)


def published(collection: Collection) -> Version:
    """What readers are served, verified as they do."""
    pointer = collection.pointer()
    assert pointer is not None
    return load(collection, pointer, ENCODER)


def text_by_id(version: Version) -> dict[str, str]:
    """Of documents that have one passage each."""
    passages = version.sparse.passages(range(version.sparse.num_passages))
    return {passage.document_id: passage.text for passage in passages}
