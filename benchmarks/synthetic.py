"""Passages and vectors that nobody wrote: as many as wanted, the same each time, without a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMENSION = 384
CLUSTERS, TOP_CLUSTERS = 2_000, 40
VOCABULARY = 50_000
ZIPF_EXPONENT = 1.07
"""About that of English words."""
BLOCK = 10_000


def vectors(num_vectors: int, seed: int = 0) -> Vectors:
    """Of one distribution, clusters of clusters of unequal sizes, at length 1: float32, shape (num_vectors, 384)."""
    shape, generator = np.random.default_rng(5), np.random.default_rng([seed, 1])
    top = shape.normal(size=(TOP_CLUSTERS, DIMENSION))
    centres = top[shape.integers(0, TOP_CLUSTERS, CLUSTERS)] + 0.8 * shape.normal(size=(CLUSTERS, DIMENSION))
    shares = np.arange(1, CLUSTERS + 1) ** -0.8
    spread_by_dimension = np.linspace(1, 0.1, DIMENSION)
    made = np.empty((num_vectors, DIMENSION), dtype=np.float32)
    for begin in range(0, num_vectors, BLOCK):
        block = made[begin : begin + BLOCK]
        chosen = centres[generator.choice(CLUSTERS, len(block), p=shares / shares.sum())]
        block[:] = (chosen + 0.7 * generator.standard_normal(block.shape, dtype=np.float32)) * spread_by_dimension
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return made


def texts(num_texts: int, num_words: int, seed: int = 0) -> list[str]:
    """Words of a Zipf vocabulary: `w0` is the most frequent."""
    shares = 1 / np.arange(1, VOCABULARY + 1) ** ZIPF_EXPONENT
    generator = np.random.default_rng([seed, 2])
    limits = np.cumsum(shares / shares.sum())
    made = []
    for begin in range(0, num_texts, BLOCK):
        drawn = generator.random((min(BLOCK, num_texts - begin), num_words))
        words = np.minimum(np.searchsorted(limits, drawn), VOCABULARY - 1)
        made += [" ".join(f"w{word}" for word in row) for row in words.tolist()]
    return made
