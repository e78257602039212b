"""The final order of the candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.blend import blend
from trivium.v1.passage_pb2 import Candidate, Passage, Scores
from trivium.v1.reranker_pb2 import RerankScore


def found(passage_ids: Sequence[str]) -> list[Candidate]:
    return [
        Candidate(passage=Passage(passage_id=passage_id), scores=Scores(bm25_score=3, bm25_rank=rank))
        for rank, passage_id in enumerate(passage_ids, 1)
    ]


def judged(passage_ids: Sequence[str]) -> list[RerankScore]:
    return [RerankScore(passage_id=passage_id, logit=-place) for place, passage_id in enumerate(passage_ids)]


def ids(candidates: Iterable[Candidate]) -> list[str]:
    return [candidate.passage.passage_id for candidate in candidates]


orders = st.permutations(list("abcdefgh"))


@given(retrieved=orders, reranked=orders)
def test_weight_1_is_the_rerankers_order(retrieved: list[str], reranked: list[str]) -> None:
    assert ids(blend(found(retrieved), judged(reranked), 1)) == reranked


@given(retrieved=orders, reranked=orders)
def test_weight_0_is_the_retrieved_order(retrieved: list[str], reranked: list[str]) -> None:
    assert ids(blend(found(retrieved), judged(reranked), 0)) == retrieved


@given(retrieved=orders, reranked=orders, weight=st.floats(0, 1))
def test_what_both_put_first_is_first_and_nothing_is_lost(
    retrieved: list[str], reranked: list[str], weight: float
) -> None:
    retrieved, reranked = ["top", *retrieved], ["top", *reranked]
    blended = ids(blend(found(retrieved), judged(reranked), weight))
    assert blended[0] == "top"
    assert sorted(blended) == sorted(retrieved)


def test_a_blend_sums_reciprocal_ranks() -> None:
    """a: 0.5/61 + 0.5/63, b: 0.5/62 + 0.5/61, c: 0.5/63 + 0.5/62: b leads, then a, then c."""
    assert ids(blend(found("bca"), judged("abc"), 0.5)) == ["b", "a", "c"]


def test_every_candidate_has_the_score_and_rank_that_it_stands_by() -> None:
    blended = list(blend(found("bca"), judged("abc"), 0.5))
    assert [one.scores.blended_rank for one in blended] == [1, 2, 3]
    assert [one.scores.blended_score for one in blended] == pytest.approx(
        [0.5 / 62 + 0.5 / 61, 0.5 / 61 + 0.5 / 63, 0.5 / 63 + 0.5 / 62]
    )


def test_equal_sums_stay_in_retrieved_order() -> None:
    assert ids(blend(found("ba"), judged("ab"), 0.5)) == ["b", "a"]


def test_scores_of_the_reranker_join_those_of_the_legs() -> None:
    score = RerankScore(passage_id="a", logit=-1.5, probability=0.25, evidence=-1.75)
    (candidate,) = blend(found("a"), [score], 0.5)
    expected = Scores(
        bm25_score=3,
        bm25_rank=1,
        rerank_logit=-1.5,
        rerank_rank=1,
        rerank_probability=0.25,
        rerank_evidence=-1.75,
        blended_score=1 / 61,
        blended_rank=1,
    )
    assert candidate.scores == expected


def test_without_a_calibration_there_is_no_probability() -> None:
    (candidate,) = blend(found("a"), judged("a"), 0.5)
    assert not candidate.scores.HasField("rerank_probability")
