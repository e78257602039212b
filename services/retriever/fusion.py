"""Reciprocal-rank fusion of the two legs.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods", SIGIR 2009; their k is 60.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Ranked(NamedTuple):
    """A row as one leg saw it. Rank 1 is the best. Each leg makes hundreds: a tuple takes half the time to make."""

    row: int
    score: float
    rank: int


@dataclass(frozen=True)
class Weights:
    """What each leg counts for, and how much the first ranks lead (less with a greater `k`)."""

    dense: float = 1.0
    bm25: float = 1.0
    k: int = 60


@dataclass(frozen=True)
class Found:
    """A row and what each leg made of it; None where that leg did not see it or nothing was fused."""

    row: int
    dense: Ranked | None = None
    bm25: Ranked | None = None
    fused: Ranked | None = None


def rank(scored_rows: Iterable[tuple[float, int]]) -> list[Ranked]:
    """Best score first; of equal scores the lower row first, so that the order is the same every time."""
    ordered = sorted(scored_rows, key=lambda scored: (-scored[0], scored[1]))
    return [Ranked(row, score, number) for number, (score, row) in enumerate(ordered, start=1)]


def list_unfused(dense: Iterable[Ranked], bm25: Iterable[Ranked]) -> list[Found]:
    """The rows of one leg and then of the other, each with that leg's score alone."""
    return [
        *(Found(ranked.row, dense=ranked) for ranked in dense),
        *(Found(ranked.row, bm25=ranked) for ranked in bm25),
    ]


def fuse(dense: Iterable[Ranked], bm25: Iterable[Ranked], weights: Weights) -> list[Found]:
    """All rows of both legs, best first: the sum over legs of weight / (k + rank).

    A leg of weight 0 adds no rows of its own.
    """
    dense_by_row = {ranked.row: ranked for ranked in dense}
    bm25_by_row = {ranked.row: ranked for ranked in bm25}

    def score(row: int) -> float:
        legs = ((weights.dense, dense_by_row.get(row)), (weights.bm25, bm25_by_row.get(row)))
        return sum(weight / (weights.k + ranked.rank) for weight, ranked in legs if ranked)

    scored = ((score(row), row) for row in dense_by_row.keys() | bm25_by_row.keys())
    return [
        Found(fused.row, dense_by_row.get(fused.row), bm25_by_row.get(fused.row), fused)
        for fused in rank((score, row) for score, row in scored if score > 0)
    ]
