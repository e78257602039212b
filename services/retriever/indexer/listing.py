"""What a collection holds, in order, at a cost that other callers do not feel."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from services.retriever.indexer.documents import Stored

BLOCK = 8_192
"""Ids that are sorted at once. `sort` keeps the interpreter's lock: a million strings would hold it for seconds."""


@dataclass(frozen=True)
class Listed:
    """A stored document. `content_hash` is empty when this process would make other passages of it."""

    document_id: str
    content_hash: str


def list_blocking(stored: Mapping[str, Stored], is_made_here: Callable[[str], bool]) -> Iterator[Listed]:
    """All of `stored` in order of id; `is_made_here` judges its digests.

    It blocks until it returns; what it returns does not block.
    """
    document_ids = list(stored)
    blocks = [sorted(document_ids[begin : begin + BLOCK]) for begin in range(0, len(document_ids), BLOCK)]
    return (
        Listed(document_id, stored[document_id].content_hash if is_made_here(stored[document_id].made_by) else "")
        for document_id in heapq.merge(*blocks)
    )
