"""Makes one immutable version of a collection and lets readers follow, by one atomic flip."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np

from services.retriever import dense, durable, failpoint, manifest, sparse
from services.retriever.collection import Collection, CorruptPointer, Pointer, Settings
from services.retriever.columns import Columns, ColumnsBuilder
from services.retriever.dense import DenseIndex, Vectors
from services.retriever.fingerprint import Fingerprint, joined, makers
from services.retriever.index_kind import TooFewPassages
from services.retriever.indexer import versions
from services.retriever.indexer.log import Log
from services.retriever.manifest import CorruptVersion, Manifest, UnreadableIndex
from services.retriever.passage import Passage
from services.retriever.record import Location, Upsert
from services.retriever.version import COLUMNS_DIRECTORY, DENSE_FILE, SPARSE_DIRECTORY

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How versions are made here."""

    encoder: Fingerprint
    splitter: Fingerprint
    dimension: int

    @property
    def made_by(self) -> str:
        """Digest of both."""
        return makers(self.encoder, self.splitter)[0]

    @property
    def fingerprint(self) -> Fingerprint:
        """What both are, in one."""
        return joined(self.encoder, self.splitter)


def publish(
    collection: Collection,
    settings: Settings,
    log: Log,
    locations: Sequence[Location],
    log_end: int,
    recipe: Recipe,
    like: Manifest | None = None,
) -> Manifest:
    """Write beside, bring to disk, verify, flip. Rows follow `locations`. Blocks.

    `like` is a version of the same documents. Its files are linked where they are those that would be written.
    Whenever it is killed, the version published before stays published and readable.

    Raises TooFewPassages, InvalidIndexKind, OSError.
    """
    index_version = _next_version(collection)
    target = collection.version_path(index_version)
    beside = durable.partial(target)
    try:
        if (
            like
            and _is_made_by(like, settings, recipe)
            and _link(collection.version_path(like.index_version), beside, like)
        ):
            described = replace(like, index_version=index_version, created_at=datetime.now(UTC), log_end=log_end)
        else:
            described = _write(beside, index_version, collection, settings, log, locations, log_end, recipe)
        failpoint.reach("publish.written")
        data = described.to_json()
        (beside / manifest.NAME).write_bytes(data)
        failpoint.reach("publish.described")
        durable.sync_tree(beside)
        _verify(beside, described)
        failpoint.reach("publish.verified")
        beside.rename(target)
        failpoint.reach("publish.renamed")
        durable.sync_directory(target.parent)
        collection.flip(Pointer(index_version, hashlib.sha256(data).hexdigest()))
        failpoint.reach("publish.flipped")
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        if _pointed_at(collection) != index_version:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return described


def _next_version(collection: Collection) -> int:
    """Above every number that is taken, published or not: what lies there may be somebody's."""
    taken = [int(path.name) for path in collection.versions_path.iterdir() if path.name.isdecimal()]
    return max([*taken, _pointed_at(collection)]) + 1


def _pointed_at(collection: Collection) -> int:
    """The published version's number; 0 when there is none, or nobody can tell."""
    try:
        pointer = collection.pointer()
    except CorruptPointer as error:
        logger.error("no published version", extra={"collection": collection.name, "reason": str(error)})
        return 0
    return pointer.index_version if pointer else 0


def _write(
    directory: Path,
    index_version: int,
    collection: Collection,
    settings: Settings,
    log: Log,
    locations: Sequence[Location],
    log_end: int,
    recipe: Recipe,
) -> Manifest:
    (directory / SPARSE_DIRECTORY).mkdir(parents=True)
    columns = ColumnsBuilder(settings.fields)
    passages = columns.noting(_passages(log, locations))
    num_passages = sparse.write(directory / SPARSE_DIRECTORY, passages, settings.analyzer)
    columns.build().write(directory / COLUMNS_DIRECTORY)
    failpoint.reach("publish.sparse_written")
    _write_dense(directory / DENSE_FILE, collection, settings, _Vectors(log, locations), recipe)
    return Manifest(
        index_version=index_version,
        created_at=datetime.now(UTC),
        num_documents=len(locations),
        num_passages=num_passages,
        dimension=recipe.dimension,
        metric=settings.kind.metric.value,
        index_factory=settings.kind.factory,
        analyzer=settings.analyzer,
        encoder=recipe.encoder,
        splitter=recipe.splitter,
        log_end=log_end,
        library_versions=_library_versions(),
        file_by_path=manifest.describe(directory),
    )


def _write_dense(
    path: Path, collection: Collection, settings: Settings, vectors: Iterable[Vectors], recipe: Recipe
) -> None:
    """Deletions must always reach the index: one that shrank below what its kind is trained on keeps what the
    published version had learnt."""
    try:
        dense.write(path, vectors, recipe.dimension, settings.kind)
    except TooFewPassages:
        published = _published_index(collection, settings, recipe)
        if published is None:
            raise
        dense.write(path, vectors, recipe.dimension, settings.kind, published)


def _published_index(collection: Collection, settings: Settings, recipe: Recipe) -> DenseIndex | None:
    """The published version's, of this kind and of vectors like these; None when there is none."""
    described = versions.published_manifest(collection)
    if described is None or described.kind != settings.kind or described.encoder != recipe.encoder:
        return None
    directory = collection.version_path(described.index_version)
    try:
        manifest.verify(directory, described)
        return DenseIndex.read(directory / DENSE_FILE, described.dimension, described.num_passages, described.kind)
    except (CorruptVersion, UnreadableIndex):
        return None


def _is_made_by(version: Manifest, settings: Settings, recipe: Recipe) -> bool:
    made_by = (Recipe(version.encoder, version.splitter, version.dimension), version.index_factory, version.metric)
    wanted = (recipe, settings.kind.factory, settings.kind.metric.value)
    return made_by == wanted and version.library_versions == _library_versions()


def _link(source: Path, directory: Path, described: Manifest) -> bool:
    """Give a new directory the files of a version, without copying them. False, and nothing there, where that fails."""
    try:
        for path in described.file_by_path:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(source / path, directory / path)
            failpoint.reach("publish.linked")
    except OSError as error:  # a file system without links, or a damaged version
        logger.info("written anew, not linked", extra={"directory": source.name, "reason": str(error)})
        shutil.rmtree(directory, ignore_errors=True)
        return False
    return True


def _verify(directory: Path, described: Manifest) -> None:
    """What readers will check, checked before they see it."""
    manifest.verify(directory, described)
    DenseIndex.read(directory / DENSE_FILE, described.dimension, described.num_passages, described.kind)
    Columns.open(directory / COLUMNS_DIRECTORY, described.num_passages)


def _records(log: Log, locations: Sequence[Location]) -> Iterator[Upsert]:
    return (log.read(location) for location in locations)


class _Vectors:
    """Each document's, from the log; as often as they are wanted."""

    def __init__(self, log: Log, locations: Sequence[Location]) -> None:
        self._log = log
        self._locations = locations

    def __iter__(self) -> Iterator[Vectors]:
        return (record.vectors for record in _records(self._log, self._locations))


def _passages(log: Log, locations: Sequence[Location]) -> Iterator[Passage]:
    return (passage for record in _records(log, locations) for passage in record.passages)


def _library_versions() -> dict[str, str]:
    return {"faiss": faiss.__version__, "tantivy": importlib.metadata.version("tantivy"), "numpy": np.__version__}
