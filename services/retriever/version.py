"""A version that is loaded and can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.retriever import manifest
from services.retriever.collection import Collection, Pointer
from services.retriever.dense import DenseIndex
from services.retriever.fingerprint import Fingerprint, differences
from services.retriever.fusion import Found
from services.retriever.manifest import Manifest, UnreadableIndex
from services.retriever.passage import Passage
from services.retriever.sparse import SparseIndex

DENSE_FILE = "dense.faiss"
SPARSE_DIRECTORY = "sparse"


class EncoderMismatch(Exception):
    """The index was made by another encoder. `differences` says in what."""

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__("the index was made by another encoder")
        self.differences = found


@dataclass(frozen=True)
class Version:
    """Both legs of one version. It is dropped when the last request that holds it ends."""

    pointer: Pointer
    dense: DenseIndex
    sparse: SparseIndex

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
    manifest.verify(directory, described)
    return Version(pointer, *open_legs(directory, described))


def open_legs(directory: Path, described: Manifest) -> tuple[DenseIndex, SparseIndex]:
    """Both indexes of a version whose files have been verified. Raises UnreadableIndex. Blocks."""
    dense = DenseIndex.read(directory / DENSE_FILE, described.dimension, described.num_passages, described.kind)
    sparse = SparseIndex(directory / SPARSE_DIRECTORY, described.analyzer)
    if sparse.num_passages != described.num_passages:
        raise UnreadableIndex(f"{SPARSE_DIRECTORY}: {sparse.num_passages} passages, not the manifest's")
    return dense, sparse
