"""Documents that nearly equal an earlier one, found by MinHash: what two texts share is estimated, not compared.

A. Broder, "On the resemblance and containment of documents", 1997; bands as in Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

MIN_SIMILARITY = 0.8
"""Share of all five-word phrases of two texts that both hold, from which they nearly equal each other."""
PHRASE_WORDS = 5
NUM_HASHES = 96
"""The estimate's standard error is 0.04 at the limit."""
NUM_BANDS = 16
"""A pair at the limit shares at least one band of six hashes with a probability of 0.99."""
_STEP = 1 << 14
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
"""Chinese, Japanese and Korean letters stand for words."""
_MIX = np.uint64(0x9E3779B97F4A7C15)

Signature = npt.NDArray[np.uint32]


class NearDuplicates:
    """Remembers about 3 KB of each document, whatever its size. Case, punctuation and white space do not count."""

    def __init__(self) -> None:
        random = np.random.default_rng(1997)
        self._factors = random.integers(0, 1 << 63, NUM_HASHES, dtype=np.uint64) | np.uint64(1)
        self._document_ids: list[str] = []
        self._signatures: list[bytes] = []
        self._numbers_by_band: dict[int, int | list[int]] = {}

    def seen(self, document_id: str, text: str) -> str | None:
        """The earlier document that this one nearly equals, if there is one. Remembers this one if there is none."""
        signature = self._signature(text)
        if signature is None:
            return None
        bands = [hash((number, band.tobytes())) for number, band in enumerate(np.split(signature, NUM_BANDS))]
        earlier = self._nearest(signature, bands)
        if earlier is not None:
            return earlier
        self._remember(document_id, signature, bands)
        return None

    def _nearest(self, signature: Signature, bands: list[int]) -> str | None:
        candidates: set[int] = set()
        for band in bands:
            numbers = self._numbers_by_band.get(band, [])
            candidates.update([numbers] if isinstance(numbers, int) else numbers)
        best, most = None, MIN_SIMILARITY
        for number in sorted(candidates):
            similarity = float(np.mean(np.frombuffer(self._signatures[number], np.uint32) == signature))
            if similarity >= most and (best is None or similarity > most):
                best, most = number, similarity
        return None if best is None else self._document_ids[best]

    def _remember(self, document_id: str, signature: Signature, bands: list[int]) -> None:
        number = len(self._document_ids)
        self._document_ids.append(document_id)
        self._signatures.append(signature.tobytes())
        for band in bands:
            others = self._numbers_by_band.get(band)
            if others is None:
                self._numbers_by_band[band] = number  # a list for each would double the memory
            else:
                self._numbers_by_band[band] = [*([others] if isinstance(others, int) else others), number]

    def _signature(self, text: str) -> Signature | None:
        """The least value of each hash over all phrases. None for a text without words."""
        phrases = _phrases(text)
        if not len(phrases):
            return None
        least = np.full(NUM_HASHES, np.iinfo(np.uint32).max, np.uint32)
        for start in range(0, len(phrases), _STEP):
            hashed = (phrases[start : start + _STEP, None] * self._factors) >> np.uint64(32)
            least = np.minimum(least, hashed.min(axis=0).astype(np.uint32))
        return least


def _phrases(text: str) -> npt.NDArray[np.uint64]:
    """A hash of each five words in a row, each once; of all words where there are fewer."""
    words = np.fromiter((zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())), np.uint64)
    if not len(words):
        return words
    num_phrases = max(1, len(words) - PHRASE_WORDS + 1)
    phrases = np.zeros(num_phrases, np.uint64)
    for offset in range(min(PHRASE_WORDS, len(words))):
        phrases = phrases * _MIX + words[offset : offset + num_phrases]
    phrases ^= phrases >> np.uint64(29)
    return np.unique(phrases * _MIX)
