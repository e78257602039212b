"""Vector search as the retriever does it (a thread for each question, `DenseIndex.search`) against bare FAISS.

Both have the same index, threads, effort and therefore recall. The vectors are synthetic: clusters of clusters of
unequal sizes, at length 1. Bare FAISS gets all questions in flight in one call, so that it may share them out itself.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np

from benchmarks import synthetic
from benchmarks.figures import Figure, Spread, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale
from benchmarks.synthetic import Vectors
from chassis.device import num_threads
from services.retriever.dense import DenseIndex, build
from services.retriever.index_kind import DEFAULT_EFFORT, MIN_PER_CENTROID, IndexKind
from services.retriever.search import MIN_LEG_CANDIDATES, Searcher

IN_FLIGHT = (1, 8, 64)
FACTORIES = ("Flat", "IVF1024,Flat", "IVF1024,PQ48", "HNSW32")
MAX_GRAPH_VECTORS = 100_000
"""A graph of a million takes two cores longer than all the rest: it is left out, and the output says so."""
MAX_CALLS = 400
ROUND_S = 0.5
"""What one side of one round takes, if one call takes less."""
DEPTH = 10
THRESHOLDS = (1, 128_000)
"""Of questions × dimensions, from which FAISS multiplies matrices: always, and its default."""

swig: Any = faiss


def vector_search(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Rate of questions ÷ that of bare FAISS: the worst of all kinds, sizes and numbers in flight is promised."""
    details: dict[str, Any] = {"threads": 0, "num_results": MIN_LEG_CANDIDATES, "left_out": []}
    ratios: list[Spread] = []
    with _every_core():
        details["threads"] = max(2, num_threads())
        for size in scale.num_vectors:
            vectors, asked = synthetic.vectors(size), synthetic.vectors(64, seed=1)
            exact: list[set[int]] = []
            for kind in _kinds(size):
                if kind.num_links and size > MAX_GRAPH_VECTORS:
                    details["left_out"].append(f"{kind.factory} of {size:,}: too long to build here")
                    continue
                begun = time.perf_counter()
                index = build(np.array_split(vectors, 20), synthetic.DIMENSION, kind)
                found = {"build_s": round(time.perf_counter() - begun, 1), **_compared(index, kind, asked, scale)}
                nearest = [{one.row for one in DenseIndex(index, kind).search(one, DEPTH)} for one in asked]
                exact = exact or nearest
                shares = [len(ours & theirs) / DEPTH for ours, theirs in zip(nearest, exact, strict=True)]
                found["recall"] = round(float(np.mean(shares)), 3)
                ratios += [one for one in found.values() if isinstance(one, Spread)]
                details[f"{kind.factory} of {size:,}"] = _plain(found)
                if kind.factory == "Flat":
                    details[f"blas_threshold of {size:,}"] = _thresholds(index, asked)
    return Figure("vector-search", min(ratios, key=lambda one: one.median), 0.95, True, details)


def _kinds(size: int) -> Iterator[IndexKind]:
    """Those that so many vectors suffice for; at the tiny scale with fewer lists."""
    for factory in FACTORIES:
        kind = IndexKind.parse(factory)
        kind = replace(kind, num_lists=min(kind.num_lists, size // MIN_PER_CENTROID))
        if kind.num_needed <= size:
            yield kind


def _compared(index: Any, kind: IndexKind, asked: Vectors, scale: Scale) -> dict[str, Any]:
    """Ratio by number in flight, and milliseconds for each question of bare FAISS."""
    dense = DenseIndex(index, kind)
    searcher = Searcher(cast(Any, None))  # nothing is encoded
    found: dict[str, Any] = {}
    try:
        for in_flight in IN_FLIGHT:
            rates, own_rates = [], []
            for _ in range(scale.rounds):
                rates.append(_rate(lambda batch: _search_bare(index, kind, batch), asked[:in_flight]))
                own_rates.append(asyncio.run(_own_rate(searcher, dense, asked[:in_flight])))
            found[f"{in_flight} in flight"] = spread(
                [ours / theirs for ours, theirs in zip(own_rates, rates, strict=True)]
            )
            found[f"bare ms with {in_flight} in flight"] = round(1_000 / float(np.median(rates)), 3)
    finally:
        searcher.close()
    return found


def _search_bare(index: Any, kind: IndexKind, batch: Vectors) -> None:
    """On as many threads as so many questions occupy in the retriever."""
    faiss.omp_set_num_threads(min(len(batch), max(2, num_threads())))
    parameters = None
    if kind.num_lists:
        parameters = swig.SearchParametersIVF(nprobe=kind.num_probed(DEFAULT_EFFORT))
    elif kind.num_links:
        parameters = swig.SearchParametersHNSW(efSearch=kind.num_in_view(DEFAULT_EFFORT, MIN_LEG_CANDIDATES))
    index.search(batch, MIN_LEG_CANDIDATES, params=parameters)


def _rate(search: Callable[[Vectors], None], batch: Vectors) -> float:
    """Questions a second, by the median of as many calls as the round has time for."""
    search(batch)
    taken: list[float] = []
    while not taken or (len(taken) < MAX_CALLS and sum(taken) < ROUND_S):
        begun = time.perf_counter()
        search(batch)
        taken.append(time.perf_counter() - begun)
    return len(batch) / statistics.median(taken)


async def _own_rate(searcher: Searcher, dense: DenseIndex, batch: Vectors) -> float:
    """The same through the event loop and the retriever's threads."""

    async def search() -> None:
        asked: list[Awaitable[Any]] = [searcher.on_thread(dense.search, one, MIN_LEG_CANDIDATES) for one in batch]
        await asyncio.gather(*asked)

    await search()
    taken: list[float] = []
    while not taken or (len(taken) < MAX_CALLS and sum(taken) < ROUND_S):
        begun = time.perf_counter()
        await search()
        taken.append(time.perf_counter() - begun)
    return len(batch) / statistics.median(taken)


def _thresholds(index: Any, asked: Vectors) -> dict[str, float]:
    """Milliseconds for each question, one alone and 64 in one call, below and above FAISS's threshold."""
    found = {}
    before = swig.cvar.distance_compute_blas_threshold
    for threshold in THRESHOLDS:
        swig.cvar.distance_compute_blas_threshold = threshold
        for size in (1, len(asked)):
            rate = _rate(lambda batch: _search_bare(index, IndexKind(), batch), asked[:size])
            found[f"{size} at once, threshold {threshold:,}: ms"] = round(1_000 / rate, 3)
    swig.cvar.distance_compute_blas_threshold = before
    return found


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {name: vars(one) if isinstance(one, Spread) else one for name, one in found.items()}


@contextmanager
def _every_core() -> Iterator[None]:
    """The benchmarks pin themselves to one core; this one is about threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
