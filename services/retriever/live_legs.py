"""A version's legs with what was stored since, at one moment.

Rows go on after the version's. A document that was replaced or deleted since keeps its rows, and is not found there.
Terms weigh as they do in the version, so that scores of both can be compared; they are exact after the next
publication, when there is one index again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import faiss
import numpy as np
from tantivy import Occur, Query, Searcher

from services.retriever.columns import Columns, Comparison, MetadataColumns, Rows
from services.retriever.dense import Vectors, normalised
from services.retriever.fusion import Ranked, rank
from services.retriever.index_kind import DEFAULT_EFFORT, Effort, Metric
from services.retriever.metadata import Fields, Value
from services.retriever.passage import Passage
from services.retriever.sparse import SparseIndex, find, schema
from services.retriever.version import DenseLeg

SCHEMA = schema()

FEW = 0.01
"""Up to this share of rows that are gone is passed over, as they are met. More are left out from the start."""


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


def _split(gone: Rows, kept: Rows | None, num_published: int) -> tuple[Rows, Rows | None]:
    """The rows that are not to be found, and those of the version that are; None when all of these may be."""
    if kept is None and np.count_nonzero(gone) <= FEW * len(gone):
        return gone, None
    wanted = ~gone if kept is None else kept & ~gone
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
