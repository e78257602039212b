"""Passages and vectors that nobody wrote: as many as wanted, the same each time, without a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

DIMENSION = 384
CLUSTERS = 256
NOISE = 0.5
"""Standard deviation around a centre, whose coordinates have 1: neighbours are near, and other clusters are not far."""
VOCABULARY = 50_000
ZIPF_EXPONENT = 1.07
"""About that of English words."""
BLOCK = 10_000


def vectors(num_vectors: int, seed: int = 0) -> Vectors:
    """Clustered, of length 1: float32, shape (num_vectors, 384)."""
    centres = np.random.default_rng(7).normal(size=(CLUSTERS, DIMENSION)).astype(np.float32)
    generator = np.random.default_rng([seed, 1])
    made = np.empty((num_vectors, DIMENSION), dtype=np.float32)
    for begin in range(0, num_vectors, BLOCK):
        block = made[begin : begin + BLOCK]
        block[:] = centres[generator.integers(CLUSTERS, size=len(block))]
        block += NOISE * generator.standard_normal(block.shape, dtype=np.float32)
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
