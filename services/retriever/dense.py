"""The dense leg: nearest passages by inner product, in FAISS. A row is a passage's number in its version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from services.retriever.columns import Rows
from services.retriever.fusion import Ranked, rank
from services.retriever.manifest import UnreadableIndex

Vectors = NDArray[np.float32]

METRIC = "inner_product"
"""Equals cosine for encoders that normalise."""

FACTORY = "Flat"
"""FAISS factory string: every vector is compared."""


def write(path: Path, blocks: Iterable[Vectors], dimension: int) -> int:
    """Write the index of all vectors (blocks of shape (n, dimension), float32). Returns how many they were.

    Raises OSError.
    """
    index = faiss.index_factory(dimension, FACTORY, faiss.METRIC_INNER_PRODUCT)
    for block in blocks:
        index.add(np.ascontiguousarray(block, dtype=np.float32))
    with path.open("wb") as file:  # FAISS's own writer says of a full disk only that something failed
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
    return int(index.ntotal)


class DenseIndex:
    """A finished index. Searching is safe from several threads at once."""

    def __init__(self, path: Path, dimension: int, num_vectors: int) -> None:
        """Read a file that has been verified: FAISS trusts what it reads. Raises UnreadableIndex."""
        try:
            self._index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise UnreadableIndex(f"{path.name}: FAISS cannot read it") from error
        found = (self._index.d, self._index.ntotal, self._index.metric_type)
        if found != (dimension, num_vectors, faiss.METRIC_INNER_PRODUCT):
            raise UnreadableIndex(f"{path.name}: dimension, count and metric are {found}, not the manifest's")

    def search(self, vector: Vectors, limit: int, kept: Rows | None = None) -> list[Ranked]:
        """The `limit` nearest rows to one vector of shape (dimension,), best first. Blocks.

        With `kept` (bool, shape (num_vectors,)) only rows that are true there are found.
        """
        if not self._index.ntotal:
            return []  # FAISS refuses to look for nothing
        limit = min(limit, self._index.ntotal)
        scores, rows = self._index.search(vector[np.newaxis, :], limit, params=_parameters(kept))
        return rank((score, row) for score, row in zip(scores[0].tolist(), rows[0].tolist(), strict=True) if row >= 0)


def _parameters(kept: Rows | None) -> faiss.SearchParameters | None:
    if kept is None:
        return None
    selector = faiss.IDSelectorBitmap(np.packbits(kept, bitorder="little"))  # type: ignore[arg-type, call-arg]
    return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
