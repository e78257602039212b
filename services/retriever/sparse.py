"""The sparse leg: BM25 in tantivy, which also keeps the passages. A row is a passage's number in its version."""

from __future__ import annotations

import os
import shutil
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tantivy import Document, Index, Occur, Query, Schema, SchemaBuilder, Searcher

from services.retriever.analyzer import Analyzer
from services.retriever.columns import Rows
from services.retriever.fusion import Ranked, rank
from services.retriever.manifest import LOCKS, UnreadableIndex
from services.retriever.passage import Passage, place

WRITER_HEAP_BYTES = 64 << 20
"""Memory in which tantivy gathers a segment."""


def schema() -> Schema:
    """Of every sparse index. Its `body` wants the analyzer's tokenizer registered as `collection`."""
    builder = SchemaBuilder()
    builder.add_unsigned_field("row", stored=False, indexed=True, fast=True)
    builder.add_text_field("document", stored=False, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("body", stored=False, tokenizer_name="collection", index_option="freq")
    builder.add_bytes_field("passage", stored=True, indexed=False)
    return builder.build()


def write(directory: Path, passages: Iterable[Passage], analyzer: Analyzer) -> int:
    """Write the index of all passages, whose rows are their numbers from 0. Returns how many they were.

    Segments are sorted by row: of passages that score the same, the lower row is found first. Raises OSError.
    """
    try:
        num_passages = _write(directory, passages, analyzer)
    except ValueError:  # tantivy's, whatever it was
        _require_room(directory)
        raise
    for name in LOCKS:
        (directory / name).unlink(missing_ok=True)
    return num_passages


def _write(directory: Path, passages: Iterable[Passage], analyzer: Analyzer) -> int:
    index = Index(schema(), path=str(directory), sort_by_field="row")
    index.register_tokenizer("collection", analyzer.build())
    writer = index.writer(WRITER_HEAP_BYTES, num_threads=1)
    num_passages = 0
    for row, passage in enumerate(passages):
        writer.add_document(entry(row, passage))
        num_passages += 1
    writer.commit()
    writer.wait_merging_threads()
    return num_passages


def entry(row: int, passage: Passage) -> Document:
    """The passage as tantivy takes it."""
    document = Document()
    document.add_unsigned("row", row)
    document.add_text("document", passage.document_id)
    document.add_text("body", passage.searched_text)
    document.add_bytes("passage", passage.to_json())
    return document


def _require_room(directory: Path) -> None:
    """Raises OSError when the disk has no room for a segment: tantivy's errors do not say so."""
    with tempfile.TemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, WRITER_HEAP_BYTES)


class SparseIndex:
    """A finished index. Searching is safe from several threads at once."""

    def __init__(self, directory: Path, analyzer: Analyzer) -> None:
        """Open files that have been verified. Raises UnreadableIndex, OSError."""
        with _links_to(directory) as links:
            try:
                index = Index.open(str(links))
            except ValueError as error:
                raise UnreadableIndex(f"{directory.name}: tantivy cannot read it") from error
            self._searcher = index.searcher()
        self._schema = index.schema
        self._analyzer = analyzer.build()
        self._asking = analyzer.build_for_questions()

    @property
    def num_passages(self) -> int:
        return int(self._searcher.num_docs)

    def search(self, question: str, limit: int, kept: Rows | None = None) -> list[Ranked]:
        """The `limit` best rows for any of the question's terms, best first. Blocks.

        The question is analysed like the passages, never parsed: quotes, stars and colons mean nothing. Words that
        only ask (`how`, `which`) are left out, unless there are no others. With `kept` (bool, shape (num_passages,))
        only rows that are true there are found, with the scores that they have without it.
        """
        terms = self.terms(question)
        if not terms:
            return []
        wanted = [(Occur.Should, Query.term_query(self._schema, "body", term, "freq")) for term in terms]
        query = Query.boolean_query(wanted)
        return find(self._searcher, query, limit) if kept is None else self._find_kept(query, limit, kept)

    def _find_kept(self, query: Query, limit: int, kept: Rows) -> list[Ranked]:
        """Of many rows that are kept, enough are expected among a few times `limit`. Otherwise these are named.

        Naming them takes time for each of them, and looking further for each row that is found: the lesser is tried.
        """
        num_kept = int(np.count_nonzero(kept))
        if not num_kept:
            return []
        enough = 2 * limit * len(kept) // num_kept
        if enough < num_kept:
            hits = find(self._searcher, query, enough)
            found = [hit for hit in hits if kept[hit.row]]
            if len(found) >= limit or len(hits) < enough:
                return rank((hit.score, hit.row) for hit in found[:limit])
        rows = Query.term_set_query(self._schema, "row", np.flatnonzero(kept).tolist())
        # A filter would add its own 1 to every score.
        among = (Occur.Must, Query.const_score_query(rows, 0.0))
        return find(self._searcher, Query.boolean_query([(Occur.Must, query), among]), limit)

    def terms(self, question: str) -> list[str]:
        """What a question looks for, each term once."""
        return list(dict.fromkeys(self._asking.analyze(question) or self._analyzer.analyze(question)))

    def num_with(self, term: str) -> int:
        """In how many passages the term occurs."""
        return int(self._searcher.doc_freq("body", term))

    def rows_of(self, document_ids: Sequence[str]) -> NDArray[np.int64]:
        """The rows of all passages of these documents, in no order. Blocks."""
        query = Query.term_set_query(self._schema, "document", list(document_ids))
        num_rows = self._searcher.search(query, 1, count=True).count or 0
        addresses = [address for _, address in self._searcher.search(query, max(1, num_rows), count=False).hits]
        return np.array(self._searcher.fast_field_values("row", addresses), dtype=np.int64)

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """The passages at these rows, in their order. Blocks."""
        if not rows:
            return []
        query = Query.term_set_query(self._schema, "row", list(rows))
        addresses = [address for _, address in self._searcher.search(query, len(rows), count=False).hits]
        passage_by_row = {
            int(row or 0): Passage.from_json(bytes(self._searcher.doc(address).get_first("passage") or b""))
            for row, address in zip(self._searcher.fast_field_values("row", addresses), addresses, strict=True)
        }
        return [passage_by_row[row] for row in rows]

    def row_of(self, passage_id: str) -> int | None:
        """The row of that passage; None when there is none. Blocks for a few reads: rows are sorted by `place`."""

        def place_at(row: int) -> tuple[str, int]:
            found = place(self._passage(row).passage_id)
            assert found is not None
            return found

        wanted = place(passage_id)
        if wanted is None:
            return None
        row = bisect_left(range(self.num_passages), wanted, key=place_at)
        is_there = row < self.num_passages and self._passage(row).passage_id == passage_id
        return row if is_there else None

    def _passage(self, row: int) -> Passage:
        (passage,) = self.passages([row])
        return passage


def find(searcher: Searcher, query: Query, limit: int) -> list[Ranked]:
    """The `limit` best rows for the query, best first. Blocks."""
    hits = searcher.search(query, limit, count=False).hits
    rows = searcher.fast_field_values("row", [address for _, address in hits])
    return rank(zip((float(score) for score, _ in hits), (int(row or 0) for row in rows), strict=True))


@contextmanager
def _links_to(directory: Path) -> Iterator[Path]:
    """A private directory of links to its files: tantivy makes lock files, also beside what is on a read-only mount.

    Once an index is open its files are mapped, and the links are needed no more.
    """
    links = Path(tempfile.mkdtemp(prefix="trivium-sparse-"))
    try:
        for file in directory.resolve().iterdir():
            (links / file.name).symlink_to(file)
        yield links
    finally:
        shutil.rmtree(links, ignore_errors=True)
        # tantivy looks at a new index once more on a thread of its own, and may lock it in between.
        shutil.rmtree(links, ignore_errors=True)
