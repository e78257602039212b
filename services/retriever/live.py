"""What was stored since a version was published, searched beside it until the next version holds it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from tantivy import Index, IndexWriter

from services.retriever import fingerprint
from services.retriever.dense import normalised
from services.retriever.live_legs import SCHEMA, LiveColumns, LiveDense, LiveSparse
from services.retriever.passage import Passage
from services.retriever.record import Delete, Erased, Record, Rollback, UnknownKind, Upsert
from services.retriever.sparse import SparseIndex, entry
from services.retriever.tail import Rewritten, Tail
from services.retriever.version import Version

logger = logging.getLogger(__name__)

MAX_PASSAGES = 100_000
"""What is stored beyond that waits for the next version: a reader's memory is bounded."""

WRITER_HEAP_BYTES = 15 << 20
"""The least that tantivy takes."""


class LiveSegment:
    """Grows with a collection's log, beside the version that it began with. Used by one thread at a time."""

    def __init__(self, version: Version, log: Path) -> None:
        """`version` is as it was loaded."""
        assert isinstance(version.sparse, SparseIndex)
        self._origin = version
        self._published = version.sparse
        self._log = log
        self._metric = version.described.kind.metric
        self._makers = fingerprint.makers(version.described.encoder, version.described.splitter)
        self._details = {"collection": log.parent.parent.name}
        self._is_broken = False
        self._begin()

    def _begin(self) -> None:
        described = self._origin.described
        self._tail = Tail(self._log, described.log_end)
        self._is_ended = False
        """From then on only deletions are followed."""
        self._is_unreadable = False
        self._vectors = np.empty((0, described.dimension), dtype=np.float32)
        self._passages: list[Passage] = []
        self._gone = np.zeros(described.num_passages, dtype=np.bool_)
        """Of the version's rows."""
        self._gone_since: list[bool] = []
        """Of the rows that follow."""
        self._rows_by_document_id: dict[str, range] = {}
        """In `_passages`, of documents that were stored since and not replaced."""
        self._changed: set[str] = set()
        """Documents of which the version's rows are gone."""
        self._index = Index(SCHEMA, sort_by_field="row")
        self._index.register_tokenizer("collection", described.analyzer.build())
        self._writer: IndexWriter | None = None

    @property
    def num_passages(self) -> int:
        """Those that were stored since and not replaced."""
        return self._gone_since.count(False)

    def follow(self) -> Version | None:
        """The version with what was stored since; None unless more of that has been read now.

        Whatever it raises, the next call begins anew. Raises OSError, ValueError (tantivy's). Blocks.
        """
        begins_anew = self._is_broken
        if begins_anew:
            self._begin()
        self._is_broken = True
        try:
            has_read = self._read()
        except Rewritten:
            logger.warning("the end of a log was cut off: it is read again", extra=self._details)
            return None
        self._is_broken = False
        return self._version() if has_read or begins_anew else None

    def _read(self) -> bool:
        """Whether there was anything."""
        before = self._tail.end
        try:
            while not self._is_unreadable and (records := self._tail.read()):
                self._take(records)
        except UnknownKind as error:
            self._is_unreadable = True
            self._end(f"a record {error}")
        has_read = self._tail.end > before
        if has_read and self._writer:
            self._writer.commit()
            self._index.reload()
        return has_read

    def _take(self, records: Iterable[Record]) -> None:
        changed = set[str]()
        for record in records:
            changed |= self._gone_with(record) if self._is_ended else self._apply(record)
        newly = changed - self._changed
        if newly:
            self._changed |= newly
            self._gone[self._published.rows_of(sorted(newly))] = True

    def _apply(self, record: Record) -> set[str]:
        """The documents that are not what they were. What cannot be shown ends the segment."""
        match record:
            case Rollback():
                self._end("a rollback")
            case Upsert() if record.made_by not in self._makers:
                self._end("a document that was made by another encoder or splitter")
            case Upsert() if len(self._passages) + len(record.passages) > MAX_PASSAGES:
                self._end(f"the most that are searched unpublished, {MAX_PASSAGES:,} passages")
            case Upsert():
                self._forget(record.document_id)
                self._add(record)
                return {record.document_id}
        return self._gone_with(record)

    def _gone_with(self, record: Record) -> set[str]:
        """The documents that it deletes. These are found no more, even when nothing else can be shown."""
        match record:
            case Delete(document_ids):
                gone = set(document_ids)
            case Erased(document_id):
                gone = {document_id}
            case _:
                gone = set()
        for document_id in gone:
            self._forget(document_id)
        return gone

    def _end(self, reason: str) -> None:
        self._is_ended = True
        details = {**self._details, "reason": reason}
        logger.warning("what is stored from here on is searched from the next version on", extra=details)

    def _forget(self, document_id: str) -> None:
        for row in self._rows_by_document_id.pop(document_id, ()):
            self._gone_since[row] = True

    def _add(self, record: Upsert) -> None:
        if self._writer is None:
            self._writer = self._index.writer(WRITER_HEAP_BYTES, num_threads=1)
        rows = range(len(self._passages), len(self._passages) + len(record.passages))
        if rows.stop > len(self._vectors):  # to twice as many: what was there is seldom copied
            more = np.empty((rows.stop, self._vectors.shape[1]), dtype=np.float32)
            self._vectors = np.concatenate([self._vectors, more])
        self._vectors[rows.start : rows.stop] = normalised(record.vectors, self._metric)
        self._passages += record.passages
        self._gone_since += [False] * len(rows)
        self._rows_by_document_id[record.document_id] = rows
        for row, passage in zip(rows, record.passages, strict=True):
            self._writer.add_document(entry(self._published.num_passages + row, passage))

    def _version(self) -> Version:
        gone = np.concatenate([self._gone, np.array(self._gone_since, dtype=np.bool_)])
        if not len(self._passages) and not gone.any():
            return self._origin
        vectors = self._vectors[: len(self._passages)]
        dense = LiveDense(self._origin.dense, self._published.num_passages, vectors, self._metric, gone)
        sparse = LiveSparse(self._published, self._passages, len(gone), self._index.searcher(), gone)
        columns = LiveColumns(self._origin.columns, self._passages, len(self._passages))
        return replace(self._origin, dense=dense, sparse=sparse, columns=columns)
