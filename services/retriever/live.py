"""What was stored since a version was published, searched beside it until the next version holds it.

Rows go on after the version's. A document that was replaced or deleted since keeps its rows, and is not found there.
Terms weigh as they do in the version, so that scores of both can be compared; they are exact after the next
publication, when there is one index again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import faiss
import numpy as np
from tantivy import Index, IndexWriter, Occur, Query, Searcher

from services.retriever import fingerprint
from services.retriever.columns import Columns, Comparison, MetadataColumns, Rows
from services.retriever.dense import Vectors, normalised
from services.retriever.fusion import Ranked, rank
from services.retriever.index_kind import DEFAULT_EFFORT, Effort, Metric
from services.retriever.metadata import Fields, Value
from services.retriever.passage import Passage
from services.retriever.record import Delete, Erased, Record, Rollback, UnknownKind, Upsert
from services.retriever.sparse import SparseIndex, entry, find, schema
from services.retriever.tail import Rewritten, Tail
from services.retriever.version import DenseLeg, Version

logger = logging.getLogger(__name__)

MAX_PASSAGES = 100_000
"""What is stored beyond that waits for the next version: a reader's memory is bounded."""

WRITER_HEAP_BYTES = 15 << 20
"""The least that tantivy takes."""

SCHEMA = schema()


@dataclass(frozen=True)
class LiveDense:
    """The dense leg of a version and of what was stored since, at one moment."""

    published: DenseLeg
    num_published: int
    vectors: Vectors
    """Of the rows that follow the version's, shape (n, dimension), as the metric compares them."""
    metric: Metric
    gone: Rows
    """Of all rows, those whose document was replaced or deleted."""

    def search(
        self, vector: Vectors, limit: int, kept: Rows | None = None, effort: Effort = DEFAULT_EFFORT
    ) -> list[Ranked]:
        """The `limit` nearest rows to one vector of shape (dimension,), best first. Blocks."""
        unwanted, of_version = _split(self.gone, kept, self.num_published)
        published = _past(unwanted, limit, lambda wanted: self.published.search(vector, wanted, of_version, effort))
        live = _past(unwanted, limit, lambda wanted: self._nearest(vector, wanted))
        return _merge(published, live, limit)

    def _nearest(self, vector: Vectors, limit: int) -> list[Ranked]:
        if not len(self.vectors):
            return []
        limit = min(limit, len(self.vectors))
        asked = normalised(vector, self.metric)[np.newaxis, :]
        scores, rows = faiss.knn(asked, self.vectors, limit, faiss.METRIC_INNER_PRODUCT)
        return rank(zip(scores[0].tolist(), (rows[0] + self.num_published).tolist(), strict=True))


@dataclass(frozen=True)
class LiveSparse:
    """The sparse leg of a version and of what was stored since, at one moment."""

    published: SparseIndex
    stored_since: Sequence[Passage]
    """Of the rows that follow the version's; perhaps of later ones, too."""
    num_passages: int
    searcher: Searcher
    gone: Rows
    """Of all rows, those whose document was replaced or deleted."""

    def search(self, question: str, limit: int, kept: Rows | None = None) -> list[Ranked]:
        """The `limit` best rows for any of the question's terms, best first. Blocks."""
        unwanted, of_version = _split(self.gone, kept, self.published.num_passages)
        published = _past(unwanted, limit, lambda wanted: self.published.search(question, wanted, of_version))
        clauses = [clause for term in self.published.terms(question) if (clause := self._clause(term))]
        if not clauses:
            return published
        query = Query.boolean_query([(Occur.Should, clause) for clause in clauses])
        return _merge(published, _past(unwanted, limit, lambda wanted: find(self.searcher, query, wanted)), limit)

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """The passages at these rows, in their order. Blocks."""
        num_published = self.published.num_passages
        of_version = [row for row in rows if row < num_published]
        passage_by_row = dict(zip(of_version, self.published.passages(of_version), strict=True))
        return [passage_by_row[row] if row < num_published else self.stored_since[row - num_published] for row in rows]

    def row_of(self, passage_id: str) -> int | None:
        """The row of that passage; None when there is none. Blocks."""
        num_published = self.published.num_passages
        for row in range(num_published, self.num_passages):
            if self.stored_since[row - num_published].passage_id == passage_id and not self.gone[row]:
                return row
        of_version = self.published.row_of(passage_id)
        return None if of_version is None or self.gone[of_version] else of_version

    def _clause(self, term: str) -> Query | None:
        """Finds the term in what was stored since, and weighs it as the version does."""
        num_with = int(self.searcher.doc_freq("body", term))
        if not num_with:
            return None
        own = _inverse_document_frequency(int(self.searcher.num_docs), num_with)
        wanted = _inverse_document_frequency(self.published.num_passages, self.published.num_with(term))
        return Query.boost_query(Query.term_query(SCHEMA, "body", term, "freq"), wanted / own)


@dataclass(frozen=True)
class LiveColumns:
    """The metadata of a version and of what was stored since, at one moment."""

    published: MetadataColumns
    stored_since: Sequence[Passage]
    """Of the rows that follow the version's; perhaps of later ones, too."""
    num_live: int

    @property
    def fields(self) -> Fields:
        return self.published.fields

    def holding(self, field: str, values: Sequence[Value]) -> Rows:
        """The rows that have one of these values, which are of the field's type. Blocks."""
        return np.concatenate([self.published.holding(field, values), self._live.holding(field, values)])

    def comparing(self, field: str, comparisons: Sequence[tuple[Comparison, Value]]) -> Rows:
        """The rows of which all comparisons are true. The field's type has an order. Blocks."""
        published, live = (columns.comparing(field, comparisons) for columns in (self.published, self._live))
        return np.concatenate([published, live])

    @cached_property
    def _live(self) -> Columns:
        """Made for the first filter: most questions have none."""
        return Columns.of(self.stored_since[: self.num_live], self.fields)


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
        self._begin()

    def _begin(self) -> None:
        described = self._origin.described
        self._tail = Tail(self._log, described.log_end)
        self._is_ended = False
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

        Raises OSError. Blocks.
        """
        try:
            return self._version() if self._read() else None
        except Rewritten:
            logger.warning("the end of a log was cut off: read again", extra={"log": str(self._log)})
            self._begin()
            self._read()
            return self._version()

    def _read(self) -> bool:
        """Whether there was anything."""
        before = self._tail.end
        try:
            while not self._is_ended and (records := self._tail.read()):
                self._take(records)
        except UnknownKind as error:
            self._end(f"a record {error}")
        if self._writer:
            self._writer.commit()
            self._index.reload()
        return self._tail.end > before

    def _take(self, records: Iterable[Record]) -> None:
        changed = set[str]()
        for record in records:
            if self._is_ended:
                break
            changed |= self._apply(record)
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
            case Erased():
                self._forget(record.document_id)
                return {record.document_id}
            case Delete(document_ids):
                for document_id in document_ids:
                    self._forget(document_id)
                return set(document_ids)
        return set()

    def _end(self, reason: str) -> None:
        self._is_ended = True
        details = {"collection": self._log.parent.parent.name, "reason": reason}
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


def _split(gone: Rows, kept: Rows | None, num_published: int) -> tuple[Rows, Rows | None]:
    """The rows that are not to be found, and those of the version that are; None when all of these may be."""
    if kept is None:
        return gone, None
    wanted = kept & ~gone
    return ~wanted, wanted[:num_published]


def _past(gone: Rows, limit: int, search: Callable[[int], list[Ranked]]) -> list[Ranked]:
    """The `limit` best rows that are not gone. As many more are looked for as it takes."""
    wanted = limit
    while True:
        found = search(wanted)
        alive = [one for one in found if not gone[one.row]]
        if len(alive) >= limit or len(found) < wanted:
            return alive[:limit]
        wanted *= 2


def _merge(published: Iterable[Ranked], live: Iterable[Ranked], limit: int) -> list[Ranked]:
    return rank((one.score, one.row) for one in chain(published, live))[:limit]


def _inverse_document_frequency(num_passages: int, num_with: int) -> float:
    """As tantivy weighs a term in BM25."""
    return math.log(1 + (num_passages - num_with + 0.5) / (num_with + 0.5))
