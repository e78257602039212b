"""Makes one immutable version of a collection and lets readers follow, by one atomic flip."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from services.retriever import dense, durable, manifest, sparse
from services.retriever.analyzer import Analyzer
from services.retriever.collection import Collection, Pointer
from services.retriever.dense import METRIC, DenseIndex
from services.retriever.fingerprint import Fingerprint
from services.retriever.indexer.log import Location, Log, Upsert
from services.retriever.manifest import Manifest
from services.retriever.passage import Passage
from services.retriever.version import DENSE_FILE, SPARSE_DIRECTORY

PARTIAL = ".partial"


@dataclass(frozen=True)
class Recipe:
    """How versions are made here."""

    encoder: Fingerprint
    splitter: Fingerprint
    dimension: int
    index_factory: str


def publish(
    collection: Collection,
    analyzer: Analyzer,
    log: Log,
    locations: Sequence[Location],
    log_end: int,
    recipe: Recipe,
) -> Manifest:
    """Write beside, bring to disk, verify, flip. Rows follow `locations`. Blocks.

    Whenever it is killed, the version published before stays published and readable. Raises OSError.
    """
    pointer = collection.pointer()
    index_version = pointer.index_version + 1 if pointer else 1
    target = collection.version_path(index_version)
    beside = target.with_name(f".{target.name}{PARTIAL}")
    for leftover in (beside, target):  # of a publication that was killed before its flip
        shutil.rmtree(leftover, ignore_errors=True)
    described = _write(beside, index_version, analyzer, log, locations, log_end, recipe)
    data = described.to_json()
    (beside / manifest.NAME).write_bytes(data)
    durable.sync_tree(beside)
    _verify(beside, described)
    beside.rename(target)
    durable.sync_directory(target.parent)
    collection.flip(Pointer(index_version, hashlib.sha256(data).hexdigest()))
    return described


def _write(
    directory: Path,
    index_version: int,
    analyzer: Analyzer,
    log: Log,
    locations: Sequence[Location],
    log_end: int,
    recipe: Recipe,
) -> Manifest:
    (directory / SPARSE_DIRECTORY).mkdir(parents=True)
    num_passages = sparse.write(directory / SPARSE_DIRECTORY, _passages(log, locations), analyzer)
    vectors = (record.vectors for record in _records(log, locations))
    dense.write(directory / DENSE_FILE, vectors, recipe.dimension, recipe.index_factory)
    return Manifest(
        index_version=index_version,
        num_documents=len(locations),
        num_passages=num_passages,
        dimension=recipe.dimension,
        metric=METRIC,
        index_factory=recipe.index_factory,
        analyzer=analyzer,
        encoder=recipe.encoder,
        splitter=recipe.splitter,
        log_end=log_end,
        library_versions=_library_versions(),
        file_by_path=manifest.describe(directory),
    )


def _verify(directory: Path, described: Manifest) -> None:
    """What readers will check, checked before they see it."""
    manifest.verify(directory, described)
    DenseIndex(directory / DENSE_FILE, described.dimension, described.num_passages)


def _records(log: Log, locations: Sequence[Location]) -> Iterator[Upsert]:
    return (log.read(location) for location in locations)


def _passages(log: Log, locations: Sequence[Location]) -> Iterator[Passage]:
    return (passage for record in _records(log, locations) for passage in record.passages)


def _library_versions() -> dict[str, str]:
    return {"faiss": faiss.__version__, "tantivy": importlib.metadata.version("tantivy"), "numpy": np.__version__}
