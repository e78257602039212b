"""The sparse leg: BM25 in tantivy, which also keeps the passages. A row is a passage's number in its version."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

from tantivy import Document, Index, Occur, Query, Schema, SchemaBuilder

from services.retriever.analyzer import Analyzer
from services.retriever.fusion import Ranked, rank
from services.retriever.passage import Passage

WRITER_HEAP_BYTES = 64 << 20
"""Memory in which tantivy gathers a segment."""

LOCKS = frozenset({".tantivy-meta.lock", ".tantivy-writer.lock"})
"""Empty files that a writer leaves behind."""


def _schema() -> Schema:
    builder = SchemaBuilder()
    builder.add_unsigned_field("row", stored=False, indexed=True, fast=True)
    builder.add_text_field("body", stored=False, tokenizer_name="collection", index_option="freq")
    builder.add_bytes_field("passage", stored=True, indexed=False)
    return builder.build()


def write(directory: Path, passages: Iterable[Passage], analyzer: Analyzer) -> int:
    """Write the index of all passages, whose rows are their numbers from 0. Returns how many they were.

    Segments are sorted by row: of passages that score the same, the lower row is found first.
    """
    index = Index(_schema(), path=str(directory), sort_by_field="row")
    index.register_tokenizer("collection", analyzer.build())
    writer = index.writer(WRITER_HEAP_BYTES, num_threads=1)
    num_passages = 0
    for row, passage in enumerate(passages):
        document = Document()
        document.add_unsigned("row", row)
        document.add_text("body", passage.indexed_text)
        document.add_bytes("passage", passage.to_json())
        writer.add_document(document)
        num_passages += 1
    writer.commit()
    writer.wait_merging_threads()
    for name in LOCKS:
        (directory / name).unlink(missing_ok=True)
    return num_passages


class SparseIndex:
    """A finished index. Searching is safe from several threads at once."""

    def __init__(self, directory: Path, analyzer: Analyzer) -> None:
        # tantivy wants to make lock files, and a version may lie on a read-only mount.
        links = Path(tempfile.mkdtemp(prefix="trivium-sparse-"))
        weakref.finalize(self, shutil.rmtree, links, ignore_errors=True)
        for file in directory.resolve().iterdir():
            (links / file.name).symlink_to(file)
        index = Index.open(str(links))
        self._analyzer = analyzer.build()
        self._schema = index.schema
        self._searcher = index.searcher()

    @property
    def num_passages(self) -> int:
        return int(self._searcher.num_docs)

    def search(self, question: str, limit: int) -> list[Ranked]:
        """The `limit` best rows for any of the question's terms, best first. Blocks.

        The question is analysed like the passages, never parsed: quotes, stars and colons mean nothing.
        """
        terms = dict.fromkeys(self._analyzer.analyze(question))
        if not terms:
            return []
        wanted = [(Occur.Should, Query.term_query(self._schema, "body", term, "freq")) for term in terms]
        hits = self._searcher.search(Query.boolean_query(wanted), limit, count=False).hits
        rows = self._searcher.fast_field_values("row", [address for _, address in hits])
        return rank(zip((float(score) for score, _ in hits), (int(row or 0) for row in rows), strict=True))

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
