"""Documents that bring their passages and vectors: what is checked before they are believed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.retriever.indexer.intake import Rejected, require_valid
from services.retriever.indexer.splitter import Document, Span, passages_of
from services.retriever.metadata import Fields
from services.retriever.passage import Passage

Vectors = NDArray[np.float32]

MAX_DISTANCE = 0.045
"""Of a vector from the one that the encoder makes, as a share of that one's length: of vectors of equal length, a
cosine of 0.999. Between float32 and bfloat16 it is at most 0.02."""
MAX_CHECKED_PASSAGES = 16
"""Of one document that is only checked."""
SAMPLED_FIRST, SAMPLED_EVERY = 8, 100
"""Of a stream's documents the first, and then one in so many, are sampled: one of their passages is encoded again."""
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Brought:
    """What comes with a document each section of which is a passage."""

    vectors: bytes
    """Little-endian float32, those of all passages one after the other."""
    made_by: str
    """Digest of encoder and splitter; empty for passages from elsewhere."""
    is_check_only: bool = False
    """Nothing is to be stored."""
    is_sampled: bool = False


def is_sampled(number: int) -> bool:
    """Whether the document of that number in its stream, from 0, is sampled."""
    return number < SAMPLED_FIRST or number % SAMPLED_EVERY == 0


def require_valid_encoded(document: Document, brought: Brought, dimension: int, fields: Fields) -> Vectors:
    """The vectors, of shape (passages, dimension). `fields` are the collection's. Raises Rejected."""
    try:
        require_valid(document, fields)
    except Rejected as rejected:
        raise Rejected(f"encoded.{rejected.field}", rejected.description) from None
    if not SHA256.fullmatch(document.content_hash):
        raise Rejected("encoded.content_hash", "64 lower-case hexadecimal digits")
    num_values = len(document.sections) * dimension
    if len(brought.vectors) != num_values * 4:
        raise Rejected(
            "encoded.vectors",
            f"{len(brought.vectors):,} bytes, but {len(document.sections):,} vectors of dimension {dimension:,} are "
            f"{num_values * 4:,}",
        )
    vectors = np.frombuffer(brought.vectors, dtype="<f4").reshape(-1, dimension).astype(np.float32, copy=False)
    if not np.isfinite(vectors).all():
        raise Rejected("encoded.vectors", "every value must be finite")
    return vectors


def sections_as_passages(document: Document) -> list[Passage]:
    """Its sections, each as a passage. The document has been checked."""
    return passages_of(document, ((section, Span(0, len(section.text))) for section in document.sections))


def rows_to_encode(document: Document, brought: Brought) -> list[int]:
    """The passages whose vectors are made again, by number."""
    if brought.is_check_only:
        return list(range(min(len(document.sections), MAX_CHECKED_PASSAGES)))
    if brought.is_sampled:
        return [zlib.crc32(document.document_id.encode()) % len(document.sections)]
    return []


def require_like(rows: Sequence[int], given: Vectors, ours: Vectors) -> None:
    """`given` and `ours` are vectors of these passages. Raises Rejected where they differ by more than rounding."""
    lengths = np.linalg.norm(ours.astype(np.float64), axis=1)
    distances = np.linalg.norm(given.astype(np.float64) - ours, axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    worst = int(distances.argmax())
    if distances[worst] > MAX_DISTANCE:
        raise Rejected(
            "encoded.vectors",
            f"that of passage {rows[worst]:,} is not what this encoder makes of title, headings and text: cosine "
            f"{_cosine(given[worst], ours[worst]):.4f}, length {np.linalg.norm(given[worst]):.4g} in place of "
            f"{lengths[worst]:.4g}",
        )


def _cosine(one: Vectors, other: Vectors) -> float:
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 0.0
