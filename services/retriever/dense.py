"""The dense leg: nearest passages, in FAISS. A row is a passage's number in its version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from chassis.device import num_threads
from services.retriever.columns import Rows
from services.retriever.fusion import Ranked, rank
from services.retriever.index_kind import DEFAULT_EFFORT, FLAT, Effort, IndexKind, Metric
from services.retriever.manifest import UnreadableIndex
from services.retriever.training import trained

Vectors = NDArray[np.float32]

BLOCK = 8_192
"""Vectors that an index takes at once: documents are small, and FAISS shares only a block among its threads."""

WALK_COST = 50
"""What one passage in view costs a walk, in vectors compared one after the other."""

swig: Any = faiss
"""Its stubs leave out what its wrappers add."""

NAME_BY_SCALAR_TYPE = {faiss.ScalarQuantizer.QT_8bit: "SQ8", faiss.ScalarQuantizer.QT_fp16: "SQfp16"}


def normalised(vectors: Vectors, metric: Metric) -> Vectors:
    """The vectors (last axis: dimension) as the metric compares them: at length 1 for cosine. Zeros stay zeros."""
    if metric is not Metric.COSINE:
        return vectors
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def write(
    path: Path, blocks: Iterable[Vectors], dimension: int, kind: IndexKind = FLAT, like: DenseIndex | None = None
) -> int:
    """Write the index that `build` makes. Returns how many vectors there were.

    Raises TooFewPassages, InvalidIndexKind, OSError.
    """
    index = build(blocks, dimension, kind, like)
    with path.open("wb") as file:  # FAISS's own writer says of a full disk only that something failed
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
    return int(index.ntotal)


def build(blocks: Iterable[Vectors], dimension: int, kind: IndexKind = FLAT, like: DenseIndex | None = None) -> Any:
    """FAISS's index of all vectors (blocks of shape (n, dimension), float32). Blocks.

    A kind that is trained reads `blocks` twice; not so with `like`, an index of the same kind: what that one learnt is
    taken from it, and it can be searched no more. Raises TooFewPassages, InvalidIndexKind.
    """
    faiss.omp_set_num_threads(num_threads())  # of this thread: by itself FAISS takes every core of the node
    ready = _Gathered(blocks, kind.metric)
    index = like.emptied() if like else trained(kind, ready, dimension)
    for block in ready:
        index.add(block)
    return index


class _Gathered:
    """Small blocks as fewer large ones, as the metric compares them."""

    def __init__(self, blocks: Iterable[Vectors], metric: Metric) -> None:
        self._blocks = blocks
        self._metric = metric

    def __iter__(self) -> Iterator[Vectors]:
        held: list[Vectors] = []
        num_held = 0
        for block in self._blocks:
            held.append(block)
            num_held += len(block)
            if num_held >= BLOCK:
                yield self._joined(held)
                held, num_held = [], 0
        if held:
            yield self._joined(held)

    def _joined(self, blocks: list[Vectors]) -> Vectors:
        return normalised(np.ascontiguousarray(np.concatenate(blocks), dtype=np.float32), self._metric)


class DenseIndex:
    """A finished index. Searching is safe from several threads at once."""

    def __init__(self, index: Any, kind: IndexKind) -> None:
        self._index = index
        self.kind = kind

    @classmethod
    def read(cls, path: Path, dimension: int, num_vectors: int, kind: IndexKind = FLAT) -> DenseIndex:
        """That of a file that has been verified: FAISS trusts what it reads. Raises UnreadableIndex. Blocks."""
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise UnreadableIndex(f"{path.name}: FAISS cannot read it") from error
        found = (index.d, index.ntotal, index.metric_type, _factory_of(index))
        if found != (dimension, num_vectors, faiss.METRIC_INNER_PRODUCT, kind.factory):
            raise UnreadableIndex(f"{path.name}: dimension, count, metric and kind are {found}, not the manifest's")
        return cls(index, kind)

    def search(
        self, vector: Vectors, limit: int, kept: Rows | None = None, effort: Effort = DEFAULT_EFFORT
    ) -> list[Ranked]:
        """The `limit` nearest rows to one vector of shape (dimension,), best first. Blocks.

        With `kept` (bool, shape (num_vectors,)) only rows that are true there are found. There are fewer than `limit`
        only where fewer are kept, whatever the kind.
        """
        num_kept = self._index.ntotal if kept is None else int(np.count_nonzero(kept))
        if not num_kept:
            return []  # FAISS refuses to look for nothing
        limit = min(limit, num_kept)
        asked = normalised(vector, self.kind.metric)[np.newaxis, :]
        if self.kind.num_lists:
            return self._search_lists(asked, limit, kept, num_kept, effort)
        if self.kind.num_links:
            return self._search_graph(asked, limit, kept, num_kept, effort)
        return _found(self._index, asked, limit, faiss.SearchParameters(**_selected(kept)))

    def emptied(self) -> Any:
        """FAISS's index itself, without its vectors: what it learnt stays."""
        self._index.reset()
        return self._index

    def _search_lists(
        self, asked: Vectors, limit: int, kept: Rows | None, num_kept: int, effort: Effort
    ) -> list[Ranked]:
        """The fewer rows are kept, the more lists: as many vectors are compared as without a filter."""
        num_lists = self.kind.num_lists
        nprobe = min(num_lists, -(-self.kind.num_probed(effort) * self._index.ntotal // num_kept))
        while True:
            found = _found(self._index, asked, limit, swig.SearchParametersIVF(nprobe=nprobe, **_selected(kept)))
            if len(found) == limit or nprobe == num_lists:
                return found
            nprobe = min(num_lists, 4 * nprobe)

    def _search_graph(
        self, asked: Vectors, limit: int, kept: Rows | None, num_kept: int, effort: Effort
    ) -> list[Ranked]:
        """A walk has to meet more passages the fewer of them are kept. From some point on comparing all is cheaper."""
        num_in_view = self.kind.num_in_view(effort, limit) * self._index.ntotal // num_kept
        if kept is None or num_kept > WALK_COST * num_in_view:
            walk = swig.SearchParametersHNSW(efSearch=num_in_view, **_selected(kept))
            found = _found(self._index, asked, limit, walk)
            if len(found) == limit:
                return found
        every_vector = faiss.downcast_index(self._index.storage)
        return _found(every_vector, asked, limit, faiss.SearchParameters(**_selected(kept)))


def _found(index: faiss.Index, asked: Vectors, limit: int, parameters: faiss.SearchParameters) -> list[Ranked]:
    scores, rows = index.search(asked, limit, params=parameters)
    return rank((score, row) for score, row in zip(scores[0].tolist(), rows[0].tolist(), strict=True) if row >= 0)


def _selected(kept: Rows | None) -> dict[str, faiss.IDSelector]:
    if kept is None:
        return {}
    return {"sel": faiss.IDSelectorBitmap(np.packbits(kept, bitorder="little"))}  # type: ignore[arg-type, call-arg]


def _factory_of(index: Any) -> str:
    """The factory string of an index as it was read; of a kind that is not written here, its class."""
    if isinstance(index, swig.IndexHNSW):
        encoding = _encoding_of(faiss.downcast_index(index.storage))
        return f"HNSW{index.hnsw.nb_neighbors(1)}" + ("" if encoding == "Flat" else f",{encoding}")
    if isinstance(index, faiss.IndexIVF):
        return f"IVF{index.nlist},{_encoding_of(index)}"
    return _encoding_of(index)


def _encoding_of(index: Any) -> str:
    name = type(index).__name__
    if name in ("IndexFlat", "IndexFlatIP", "IndexIVFFlat"):
        return "Flat"
    if name in ("IndexScalarQuantizer", "IndexIVFScalarQuantizer"):
        return NAME_BY_SCALAR_TYPE.get(index.sq.qtype, name)
    if isinstance(index, faiss.IndexIVFPQ) and index.pq.nbits == 8:
        return f"PQ{index.pq.M}"
    return name
