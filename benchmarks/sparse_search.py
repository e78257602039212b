"""BM25 of the sparse leg against tantivy alone and against bm25s, one thread each, over the same terms."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import bm25s  # type: ignore[import-untyped]
from tantivy import Index, Occur, Query

from benchmarks import synthetic
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale
from services.retriever import sparse
from services.retriever.analyzer import Analyzer
from services.retriever.passage import Passage

NUM_WORDS, QUESTION_WORDS = 60, 6
LIMIT = 100
ANALYZER = Analyzer.of("en", stemming=False, stop_words=False)
"""Words of numbers have no stems."""


def run(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Questions a second of `SparseIndex.search` ÷ tantivy's own, top 100 of `num_passages`, six words each."""
    texts = synthetic.texts(scale.num_passages, NUM_WORDS)
    questions = synthetic.texts(scale.num_questions, QUESTION_WORDS, seed=1)
    started = time.perf_counter()
    sparse.write(folder, (_passage(number, text) for number, text in enumerate(texts)), ANALYZER)
    written_s = time.perf_counter() - started
    ours, raw = sparse.SparseIndex(folder, ANALYZER), _raw(folder)
    started = time.perf_counter()
    eager = bm25s.BM25(method="lucene")
    eager.index([text.split() for text in texts], show_progress=False)
    eager_written_s = time.perf_counter() - started

    def of_bm25s(question: str) -> object:
        return eager.retrieve([question.split()], k=min(LIMIT, len(texts)), n_threads=1, show_progress=False)

    arms: dict[str, Callable[[str], object]] = {
        "sparse_leg": lambda question: ours.search(question, LIMIT),
        "tantivy": raw,
        "bm25s": of_bm25s,
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(scale.rounds):
        for name, search in arms.items():
            seconds[name].append(_seconds(search, questions))
    ratios = [floor / leg for floor, leg in zip(seconds["tantivy"], seconds["sparse_leg"], strict=True)]
    details = {
        "num_passages": len(texts),
        **{f"{name}_ms": spread([1_000 * one / len(questions) for one in all_]) for name, all_ in seconds.items()},
        "index_s": round(written_s, 1),
        "bm25s_index_s": round(eager_written_s, 1),
    }
    return Figure("sparse-search", spread(ratios), 0.95, is_floor=True, details=details)


def _passage(number: int, text: str) -> Passage:
    return Passage(f"{number:07d}#0", f"{number:07d}", "", (), text, "", None, 0, len(text))


def _raw(folder: Path) -> Callable[[str], object]:
    """tantivy's best documents for the same terms, and nothing done with them."""
    index = Index.open(str(folder))
    searcher, schema = index.searcher(), index.schema

    def search(question: str) -> object:
        terms = dict.fromkeys(question.split())
        clauses = [(Occur.Should, Query.term_query(schema, "body", term, "freq")) for term in terms]
        return searcher.search(Query.boolean_query(clauses), LIMIT, count=False).hits

    return search


def _seconds(search: Callable[[str], object], questions: Sequence[str]) -> float:
    """All questions, one after the other."""
    search(questions[0])
    durations = []
    for question in questions:
        started = time.perf_counter()
        search(question)
        durations.append(time.perf_counter() - started)
    return statistics.fmean(durations) * len(durations)
