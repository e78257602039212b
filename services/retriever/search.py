"""One search: the question is encoded while BM25 runs, the legs are fused, the passages fetched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import faiss

from chassis.batcher import Batcher, Served
from chassis.deadline import Deadline
from chassis.device import num_threads
from services.retriever.columns import Rows
from services.retriever.encoder import Encoded, Text
from services.retriever.filter import Filter, select
from services.retriever.fusion import Found, Ranked, Weights, fuse, list_unfused
from services.retriever.passage import Passage
from services.retriever.version import Version

logger = logging.getLogger(__name__)

Output = TypeVar("Output")

MIN_LEG_CANDIDATES = 100
"""Each leg of a hybrid search finds at least so many, and twice as many as are wanted: what one leg ranks low
the other may lift."""

RESERVE_S = 0.2
"""Of the deadline, what a hybrid search keeps to answer by BM25 alone when the encoder is late …"""

RESERVE_SHARE = 0.25
"""… but at most this share of what is left."""


class Mode(Enum):
    """Which legs search."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"


@dataclass(frozen=True)
class Search:
    """What is wanted: the best `top_k` passages for a question."""

    question: str
    mode: Mode
    top_k: int
    weights: Weights
    filter: Filter | None = None
    """Chooses the passages that are searched. Has been checked with the version's fields."""

    @property
    def limit(self) -> int:
        """How many candidates each leg finds."""
        return max(MIN_LEG_CANDIDATES, 2 * self.top_k) if self.mode is Mode.HYBRID else self.top_k

    def order(self, dense: Sequence[Ranked], bm25: Sequence[Ranked]) -> list[Found]:
        """What the legs found, best first. The first `top_k` are wanted."""
        return fuse(dense, bm25, self.weights) if self.mode is Mode.HYBRID else list_unfused(dense, bm25)


@dataclass(frozen=True)
class Findings:
    """What a search found."""

    found: list[tuple[Found, Passage]]
    """What is wanted of it, best first."""
    dense: Sequence[Ranked] = ()
    bm25: Sequence[Ranked] = ()
    """All that each leg found, best first."""
    encoded: Served[Encoded] | None = None
    """What encoding took. None when no model ran."""
    dense_error: BaseException | None = None
    bm25_error: BaseException | None = None
    """Which leg of a hybrid search failed, and by what."""
    kept: Rows | None = None
    """The rows that were searched. None when all were."""


class Searcher:
    """Searches versions. Index work runs on threads, one query to a thread; encoding goes through the batcher."""

    def __init__(self, batcher: Batcher[Text, Encoded]) -> None:
        self._batcher = batcher
        # OpenMP's setting belongs to the thread. Many questions at once fill the cores better than one split up.
        self._threads = ThreadPoolExecutor(
            max(2, num_threads()), "search", initializer=faiss.omp_set_num_threads, initargs=(1,)
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def search(self, version: Version, search: Search, deadline: Deadline) -> Findings:
        """Raises what a leg raised, unless it was a hybrid search and the other leg found its candidates."""
        kept = await self.on_thread(select, search.filter, version.columns) if search.filter else None
        encoded, bm25 = await asyncio.gather(
            self._encode(search, deadline), self._bm25(version, search, kept), return_exceptions=True
        )
        return await self.on_thread(_find, version, search, encoded, bm25, kept)

    async def _encode(self, search: Search, deadline: Deadline) -> Served[Encoded] | None:
        if search.mode is Mode.SPARSE:
            return None
        if search.mode is Mode.DENSE:
            return await self._batcher.submit(Text(search.question), deadline=deadline)
        remaining_s = deadline.remaining_s()
        spare = deadline.sooner(remaining_s - min(RESERVE_S, RESERVE_SHARE * remaining_s))
        async with asyncio.timeout(spare.remaining_s()):
            return await self._batcher.submit(Text(search.question), deadline=spare)

    async def _bm25(self, version: Version, search: Search, kept: Rows | None) -> list[Ranked]:
        if search.mode is Mode.DENSE:
            return []
        return await self.on_thread(version.sparse.search, search.question, search.limit, kept)

    async def on_thread(self, function: Callable[..., Output], *arguments: Any) -> Output:
        """What `function`, which blocks, returns: index work is done there."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _find(
    version: Version,
    search: Search,
    encoded: Served[Encoded] | BaseException | None,
    bm25: list[Ranked] | BaseException,
    kept: Rows | None,
) -> Findings:
    """All that follows once the question is encoded and BM25 is done, in one step on one thread. Blocks."""
    served = None if isinstance(encoded, BaseException) else encoded
    dense = _nearest(version, search, encoded, kept)
    dense_error, dense_ranked = _outcome(dense)
    bm25_error, bm25_ranked = _outcome(bm25)
    # Nothing found by half a search is not "there is nothing".
    if dense_error and not (bm25_ranked and search.weights.bm25):
        raise dense_error
    if bm25_error and not (dense_ranked and search.weights.dense):
        raise bm25_error
    found = search.order(dense_ranked, bm25_ranked)[: search.top_k]
    return Findings(version.with_passages(found), dense_ranked, bm25_ranked, served, dense_error, bm25_error, kept)


def _nearest(
    version: Version, search: Search, encoded: Served[Encoded] | BaseException | None, kept: Rows | None
) -> list[Ranked] | BaseException:
    if encoded is None:
        return []
    if isinstance(encoded, BaseException):
        return encoded
    try:
        return version.dense.search(encoded.output.vector, search.limit, kept)
    except Exception as error:  # the other leg may have found candidates
        return error


def _outcome(leg: list[Ranked] | BaseException) -> tuple[BaseException | None, list[Ranked]]:
    return (leg, []) if isinstance(leg, BaseException) else (None, leg)
