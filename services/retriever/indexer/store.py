"""The way of a document into the log: split, encoded in bulk, committed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from chassis.backlog import Priority
from chassis.batcher import Batcher
from chassis.deadline import NEVER
from chassis.executor import SingleThread
from services.retriever.encoder import Encoded, Text
from services.retriever.indexer.concurrency import Allowance
from services.retriever.indexer.encoded import (
    Brought,
    Vectors,
    require_like,
    require_valid_encoded,
    rows_to_encode,
    sections_as_passages,
)
from services.retriever.indexer.splitter import Document, Splitter
from services.retriever.indexer.writer import CollectionWriter
from services.retriever.passage import Passage
from services.retriever.record import Upsert

logger = logging.getLogger(__name__)

MAX_ENCODED_AT_ONCE = 128
"""Passages of one document that are on their way to the encoder: a long document leaves room for others."""


class Outcome(Enum):
    """What became of a document."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    CHECKED = "checked"
    """It was not to be stored."""


@dataclass(frozen=True)
class Kept:
    """What became of a document that brought its passages."""

    outcome: Outcome
    num_passages: int
    num_long_passages: int = 0
    """Passages from elsewhere that are longer than the encoder reads."""


class Store:
    """Stores documents in any collection with one splitter and one encoder."""

    def __init__(
        self,
        splitter: Splitter,
        batcher: Batcher[Text, Encoded],
        max_encoding: int,
        dimension: int,
        max_text_tokens: int,
    ) -> None:
        """`max_encoding` bounds the passages of all documents that wait for the encoder at once."""
        self._dimension, self._max_text_tokens = dimension, max_text_tokens
        self._splitter = splitter
        self._batcher = batcher
        self._encoding = Allowance(max(max_encoding, MAX_ENCODED_AT_ONCE))
        self._splitting = SingleThread("splitter")

    def close(self) -> None:
        self._splitting.close()

    async def put(self, writer: CollectionWriter, document: Document) -> tuple[Outcome, int]:
        """What became of the document and how many passages it has; it is on disk when this returns.

        Raises WriterClosed, OSError, or what the encoder raised; then it is not stored.
        """
        async with writer.turns.of(document.document_id):
            before = writer.stored(document.document_id)
            if before and writer.is_current(document.document_id, document.content_hash):
                return Outcome.UNCHANGED, before.num_passages
            passages = await self._splitting.run(self._splitter.split, document)
            vectors = await self._encode(passages)
            await writer.append(
                Upsert(document.document_id, document.content_hash, writer.made_by, tuple(passages), vectors)
            )
            return Outcome.UPDATED if before else Outcome.CREATED, len(passages)

    async def keep(self, writer: CollectionWriter, document: Document, brought: Brought) -> Kept:
        """Store a document with the passages and vectors that it brings, or only check it; on disk when this returns.

        Raises Rejected, WriterClosed, OSError, or what the encoder raised; then it is not stored.
        """
        writer.require_open()
        vectors = require_valid_encoded(document, brought, self._dimension, writer.settings.fields)
        passages = sections_as_passages(document)
        if rows := rows_to_encode(document, brought):
            require_like(rows, vectors[rows], await self._encode([passages[row] for row in rows]))
        num_long = 0 if brought.made_by else await self._splitting.run(self._num_long, passages)
        if brought.is_check_only:
            return Kept(Outcome.CHECKED, len(passages), num_long)
        return Kept(await self._append(writer, document, brought, passages, vectors), len(passages), num_long)

    async def _append(
        self,
        writer: CollectionWriter,
        document: Document,
        brought: Brought,
        passages: Sequence[Passage],
        vectors: Vectors,
    ) -> Outcome:
        async with writer.turns.of(document.document_id):
            before = writer.stored(document.document_id)
            if before and writer.is_current(document.document_id, document.content_hash):
                return Outcome.UNCHANGED
            made_by = brought.made_by or writer.encoded_by
            await writer.append(Upsert(document.document_id, document.content_hash, made_by, tuple(passages), vectors))
            return Outcome.UPDATED if before else Outcome.CREATED

    def _num_long(self, passages: Sequence[Passage]) -> int:
        return sum(self._splitter.num_tokens(passage) > self._max_text_tokens for passage in passages)

    async def _encode(self, passages: Sequence[Passage]) -> NDArray[np.float32]:
        encoded: list[Encoded] = []
        for begin in range(0, len(passages), MAX_ENCODED_AT_ONCE):
            texts = [
                Text(passage.text, passage.heading_line) for passage in passages[begin : begin + MAX_ENCODED_AT_ONCE]
            ]
            async with self._encoding.of(len(texts)):
                served = await self._batcher.submit_many(texts, deadline=NEVER, priority=Priority.BULK)
            encoded.extend(one.output for one in served)
        if truncated := sum(one.truncated_tokens for one in encoded):
            logger.warning("the encoder did not read all of a document", extra={"truncated_tokens": truncated})
        return np.stack([one.vector for one in encoded])
