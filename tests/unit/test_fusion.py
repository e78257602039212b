"""Reciprocal-rank fusion."""

from __future__ import annotations

import pytest

from services.retriever.fusion import Weights, fuse, rank


def test_a_score_is_the_sum_of_weight_over_k_plus_rank() -> None:
    dense, bm25 = rank([(0.9, 7), (0.5, 8)]), rank([(12.0, 8), (3.0, 9)])
    found = fuse(dense, bm25, Weights(dense=2.0, bm25=0.5, k=10))
    assert {one.row: one.fused.score for one in found if one.fused} == pytest.approx(
        {7: 2 / 11, 8: 2 / 12 + 0.5 / 11, 9: 0.5 / 12}
    )


def test_what_both_legs_find_leads() -> None:
    found = fuse(rank([(0.9, 1), (0.8, 2)]), rank([(5.0, 3), (4.0, 2)]), Weights())
    assert [one.row for one in found] == [2, 1, 3]


def test_every_leg_keeps_its_score_and_rank_and_is_absent_where_it_saw_nothing() -> None:
    first, second = fuse(rank([(0.9, 1)]), rank([(5.0, 2)]), Weights(dense=2.0))
    assert first.dense
    assert (first.dense.score, first.dense.rank) == (0.9, 1)
    assert first.bm25 is None
    assert second.dense is None
    assert second.bm25
    assert (second.bm25.score, second.bm25.rank) == (5.0, 1)
    assert [one.fused.rank for one in (first, second) if one.fused] == [1, 2]


def test_equal_scores_are_ordered_by_row() -> None:
    assert [one.row for one in rank([(1.0, 5), (1.0, 3), (2.0, 9)])] == [9, 3, 5]
    assert [one.row for one in fuse(rank([(1.0, 8)]), rank([(1.0, 4)]), Weights())] == [4, 8]


def test_a_leg_of_weight_zero_adds_no_rows_but_shows_its_scores() -> None:
    found = fuse(rank([(0.9, 1)]), rank([(5.0, 2), (4.0, 1)]), Weights(bm25=0.0))
    assert [one.row for one in found] == [1]
    assert found[0].bm25 is not None
