"""What an index learns from before it takes vectors: a sample, the same every time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from services.retriever.index_kind import SAMPLE_PER_CENTROID, IndexKind, TooFewPassages

Vectors = NDArray[np.float32]

SEED = 0


def trained(kind: IndexKind, blocks: Iterable[Vectors], dimension: int) -> Any:
    """An empty FAISS index of that kind, ready to take vectors. Blocks.

    `blocks` are read only if there is something to learn. Raises TooFewPassages, InvalidIndexKind.
    """
    kind.require_suited(dimension)
    index: Any = faiss.index_factory(dimension, kind.factory, faiss.METRIC_INNER_PRODUCT)
    if not kind.is_trained:
        return index
    sample, num_found = draw(blocks, kind.sample_size, dimension)
    if num_found < kind.num_needed:
        raise TooFewPassages(kind, kind.num_needed, num_found)
    if kind.num_codes:
        index.pq.cp.max_points_per_centroid = SAMPLE_PER_CENTROID
        index.do_polysemous_training = False  # orders codes for a filter that is not used here, for most of the time
    if len(sample):
        index.train(sample)
    return index


def draw(blocks: Iterable[Vectors], size: int, dimension: int) -> tuple[Vectors, int]:
    """At most `size` of all vectors, in their order, each as likely as another; and how many there are.

    Holds at most twice as many, and one block, at once.
    """
    generator = np.random.default_rng(SEED)
    sample, keys, num_found = np.empty((0, dimension), np.float32), np.empty(0), 0
    parts, part_keys, num_held = [sample], [keys], 0
    for block in blocks:
        parts.append(block)
        part_keys.append(generator.random(len(block)))
        num_found, num_held = num_found + len(block), num_held + len(block)
        if num_held > 2 * size:
            sample, keys = _least(np.concatenate(parts), np.concatenate(part_keys), size)
            parts, part_keys, num_held = [sample], [keys], len(sample)
    sample, _ = _least(np.concatenate(parts), np.concatenate(part_keys), size)
    return sample, num_found


def _least(vectors: Vectors, keys: NDArray[np.float64], size: int) -> tuple[Vectors, NDArray[np.float64]]:
    """The vectors that drew the least keys."""
    if len(keys) <= size:
        return vectors, keys
    chosen = np.sort(np.argpartition(keys, size)[:size])
    return vectors[chosen], keys[chosen]
