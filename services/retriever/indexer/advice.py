"""Which index kind suits a collection: memory by rule, recall measured on a sample against comparing everything."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.retriever.dense import DenseIndex, Vectors, build
from services.retriever.index_kind import (
    DEFAULT_EFFORT,
    FLAT,
    MIN_PER_CENTROID,
    Effort,
    IndexKind,
    Metric,
    TooFewPassages,
)
from services.retriever.indexer.documents import Stored
from services.retriever.record import Location

SAMPLE = 20_000
"""Vectors at most: every candidate is built of them."""
MAX_QUESTIONS = 200
MIN_SAMPLE = 200
"""With fewer there is nothing to measure."""
DEPTH = 10
TARGET_RECALL = 0.95
FLAT_PASSAGES = 100_000
"""Up to here every vector is compared in about the time that other steps take."""
MAX_LIST_PASSAGES = 4_096
"""Longer lists make each of them a search of its own."""
LISTS_PER_ROOT = 4
"""Lists for each square root of the passages: FAISS's guideline is 4 to 16."""
CODE_DIMENSIONS = (4, 8)
"""How many dimensions PQ keeps in a byte."""
SEED = 0


@dataclass(frozen=True)
class Candidate:
    """One kind; `recall` and `search_ms` (of one question) are None where there was too little to measure."""

    kind: IndexKind
    num_bytes: int
    recall: float | None = None
    search_ms: float | None = None


@dataclass(frozen=True)
class Advice:
    """What was found, and what to use."""

    num_passages: int
    dimension: int
    kind: IndexKind
    """What the collection has."""
    num_sampled: int
    num_questions: int
    candidates: Sequence[Candidate]
    recommended: IndexKind
    reason: str
    warnings: Sequence[str]

    @property
    def num_bytes(self) -> int:
        """What the collection's index takes."""
        return self.kind.num_bytes(self.num_passages, self.dimension)


def draw_documents(stored: Mapping[str, Stored]) -> list[Location]:
    """Where the log has documents with a sample's passages: any of them as likely, the same ones every time."""
    document_ids = sorted(stored)
    locations, num_drawn = [], 0
    for number in np.random.default_rng(SEED).permutation(len(document_ids)):
        if num_drawn >= SAMPLE:
            break
        drawn = stored[document_ids[number]]
        locations.append(drawn.location)
        num_drawn += drawn.num_passages
    return locations


def advise(sample: Vectors, num_passages: int, dimension: int, kind: IndexKind) -> Advice:
    """Advice for a collection of so many passages, of whose vectors there is a sample. Blocks for a minute or two."""
    shuffled = np.random.default_rng(SEED).permutation(sample)
    num_questions = min(MAX_QUESTIONS, len(sample) // 10) if len(sample) >= MIN_SAMPLE else 0
    questions, vectors = shuffled[:num_questions], shuffled[num_questions:]
    measured = _Measurement(vectors, questions, num_passages, dimension)
    candidates = [measured.of(one) for one in _kinds(num_passages, dimension, kind)]
    recommended, reason = _choice(candidates, num_passages, kind.metric)
    return Advice(
        num_passages,
        dimension,
        kind,
        len(vectors),
        num_questions,
        candidates,
        recommended,
        reason,
        list(_warnings(kind, num_passages)),
    )


class _Measurement:
    """The same questions for every kind."""

    def __init__(self, vectors: Vectors, questions: Vectors, num_passages: int, dimension: int) -> None:
        self._vectors = vectors
        self._questions = questions
        self._num_passages = num_passages
        self._dimension = dimension
        self._nearest_by_metric: dict[Metric, list[set[int]]] = {}

    def of(self, kind: IndexKind) -> Candidate:
        num_bytes = kind.num_bytes(self._num_passages, self._dimension)
        if not len(self._questions):
            return Candidate(kind, num_bytes)
        if kind.metric not in self._nearest_by_metric:
            self._nearest_by_metric[kind.metric] = self._search(replace(FLAT, metric=kind.metric), DEFAULT_EFFORT)[0]
        exact = self._nearest_by_metric[kind.metric]
        try:
            found, search_ms = self._search(*_scaled(kind, len(self._vectors)))
        except TooFewPassages:
            return Candidate(kind, num_bytes)
        recall = np.mean([len(ours & theirs) / len(theirs) for ours, theirs in zip(found, exact, strict=True)])
        return Candidate(kind, num_bytes, float(recall), search_ms)

    def _search(self, kind: IndexKind, effort: Effort) -> tuple[list[set[int]], float]:
        """The rows nearest to each question, and milliseconds for one. Raises TooFewPassages."""
        index = DenseIndex(build([self._vectors], self._dimension, kind), kind)
        found, taken = [], []
        for asked in self._questions:
            begun = time.perf_counter()
            found.append({one.row for one in index.search(asked, DEPTH, effort=effort)})
            taken.append(time.perf_counter() - begun)
        return found, 1_000 * statistics.median(taken)


def _scaled(kind: IndexKind, num_vectors: int) -> tuple[IndexKind, Effort]:
    """As many lists as so few vectors can fill, and of them the same share to search."""
    if not kind.num_lists:
        return kind, DEFAULT_EFFORT
    num_lists = min(kind.num_lists, max(1, num_vectors // MIN_PER_CENTROID))
    probed_share = kind.num_probed(DEFAULT_EFFORT) / kind.num_lists
    return replace(kind, num_lists=num_lists), Effort(nprobe=max(1, round(probed_share * num_lists)))


def _kinds(num_passages: int, dimension: int, kind: IndexKind) -> list[IndexKind]:
    """Those to compare: the collection's own, and all that could be published as it is now."""
    lists = 2 ** round(math.log2(LISTS_PER_ROOT * math.sqrt(max(num_passages, 1))))
    codes = [dimension // width for width in CODE_DIMENSIONS if dimension % width == 0]
    factories = ["Flat", "SQfp16", "SQ8", "HNSW32", "HNSW32,SQ8", f"IVF{lists},Flat", f"IVF{lists},SQ8"]
    kinds = [IndexKind.parse(one, kind.metric) for one in [*factories, *(f"IVF{lists},PQ{code}" for code in codes)]]
    others = [one for one in kinds if one.num_needed <= num_passages and one != kind]
    return [kind, *others]


def _choice(candidates: Sequence[Candidate], num_passages: int, metric: Metric) -> tuple[IndexKind, str]:
    if num_passages <= FLAT_PASSAGES:
        return replace(
            FLAT, metric=metric
        ), f"up to {FLAT_PASSAGES:,} passages comparing every vector is quick, and exact"
    measured = [(one, one.recall) for one in candidates if one.recall is not None and not one.kind.is_exact]
    if good := [(one, recall) for one, recall in measured if recall >= TARGET_RECALL]:
        best, recall = min(good, key=lambda pair: pair[0].num_bytes)
        why = f"it takes the least memory of those that find {TARGET_RECALL:.0%}"
    else:
        best, recall = max(measured, key=lambda pair: pair[1])
        why = f"no kind that compares fewer vectors finds {TARGET_RECALL:.0%}, this one the most"
    return best.kind, f"{why} of the nearest {DEPTH}: {recall:.1%}"


def _warnings(kind: IndexKind, num_passages: int) -> Iterator[str]:
    if kind.is_exact and num_passages > FLAT_PASSAGES:
        yield f"{kind.factory} compares all {num_passages:,} passages, which is quick up to {FLAT_PASSAGES:,}"
    if kind.num_lists and num_passages > MAX_LIST_PASSAGES * kind.num_lists:
        yield f"{kind.factory} has too few lists: {num_passages // kind.num_lists:,} passages in each"
    if num_passages < kind.num_needed:
        yield f"{kind.factory} is trained on at least {kind.num_needed:,} passages: no first version can be published"
