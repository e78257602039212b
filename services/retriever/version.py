"""A version that is loaded and can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.retriever import manifest
from services.retriever.collection import Collection, Pointer
from services.retriever.columns import Columns, MetadataColumns, Rows
from services.retriever.dense import METRIC, DenseIndex, Vectors
from services.retriever.fingerprint import Fingerprint, differences
from services.retriever.fusion import Found, Ranked
from services.retriever.manifest import Manifest, UnreadableIndex
from services.retriever.passage import Passage
from services.retriever.sparse import SparseIndex

DENSE_FILE = "dense.faiss"
SPARSE_DIRECTORY = "sparse"
COLUMNS_DIRECTORY = "columns"


class DenseLeg(Protocol):
    """Finds passages by their vectors. A row is a passage's number."""

    def search(self, vector: Vectors, limit: int, kept: Rows | None = None) -> list[Ranked]:
        """The `limit` nearest rows to one vector of shape (dimension,), best first. Blocks."""


class SparseLeg(Protocol):
    """Finds passages by their terms, and keeps them."""

    @property
    def num_passages(self) -> int:
        """Rows are below it."""

    def search(self, question: str, limit: int, kept: Rows | None = None) -> list[Ranked]:
        """The `limit` best rows for any of the question's terms, best first. Blocks."""

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """The passages at these rows, in their order. Blocks."""

    def row_of(self, passage_id: str) -> int | None:
        """The row of that passage; None when there is none. Blocks."""


class EncoderMismatch(Exception):
    """The index was made by another encoder. `differences` says in what."""

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__("the index was made by another encoder")
        self.differences = found


@dataclass(frozen=True)
class Version:
    """Both legs of one version, with what was stored since. It is dropped when the last request that holds it ends."""

    pointer: Pointer
    described: Manifest
    dense: DenseLeg
    sparse: SparseLeg
    columns: MetadataColumns

    @property
    def index_version(self) -> int:
        return self.pointer.index_version

    def with_passages(self, found: Sequence[Found]) -> list[tuple[Found, Passage]]:
        """The rows with their passages, in their order. Blocks."""
        return list(zip(found, self.sparse.passages([one.row for one in found]), strict=True))


def load(collection: Collection, pointer: Pointer, encoder: Fingerprint) -> Version:
    """Verify the version that `pointer` names, then open it. Blocks.

    Raises CorruptVersion, EncoderMismatch, UnreadableIndex.
    """
    directory = collection.version_path(pointer.index_version)
    described = manifest.read(directory, pointer.manifest_sha256)
    if found := differences(described.encoder, encoder):
        raise EncoderMismatch(found)
    if described.metric != METRIC:
        raise UnreadableIndex(f"{manifest.NAME}: metric {described.metric}, this software reads {METRIC}")
    manifest.verify(directory, described)
    columns = Columns.open(directory / COLUMNS_DIRECTORY, described.num_passages)
    return Version(pointer, described, *open_legs(directory, described), columns)


def open_legs(directory: Path, described: Manifest) -> tuple[DenseIndex, SparseIndex]:
    """Both indexes of a version whose files have been verified. Raises UnreadableIndex. Blocks."""
    dense = DenseIndex(directory / DENSE_FILE, described.dimension, described.num_passages)
    sparse = SparseIndex(directory / SPARSE_DIRECTORY, described.analyzer)
    if sparse.num_passages != described.num_passages:
        raise UnreadableIndex(f"{SPARSE_DIRECTORY}: {sparse.num_passages} passages, not the manifest's")
    return dense, sparse
