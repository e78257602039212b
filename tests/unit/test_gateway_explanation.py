"""What the gateway makes of a search that it explains."""

from __future__ import annotations

import pytest

from chassis.errors import FailedPrecondition
from gateway.config import GatewayConfig
from gateway.evidence import Evidence
from gateway.explanation import explain
from gateway.question import read_search
from trivium.v1.gateway_pb2 import CandidateOutcome, ExplainResponse, RerankReading, SearchOptions
from trivium.v1.metadata_pb2 import Equals, Filter, MetadataValue
from trivium.v1.passage_pb2 import Candidate, Passage, Scores
from trivium.v1.reranker_pb2 import RerankResponse, RerankScore
from trivium.v1.retriever_pb2 import PassageStanding, RetrievalExplanation, RetrievalMode, RetrieveResponse

KEPT = CandidateOutcome.CANDIDATE_OUTCOME_KEPT
BEYOND_TOP_K = CandidateOutcome.CANDIDATE_OUTCOME_BEYOND_TOP_K
BEYOND_NUM_CANDIDATES = CandidateOutcome.CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES
WEIGHTLESS = CandidateOutcome.CANDIDATE_OUTCOME_WEIGHTLESS
NOT_FOUND = CandidateOutcome.CANDIDATE_OUTCOME_NOT_FOUND

CONFIG = GatewayConfig(max_top_k=4, max_candidates=10)
RERANKED = RerankResponse(
    scores=[
        RerankScore(passage_id="c", logit=3, probability=0.3, passage_tokens=90, truncated_tokens=7, text_characters=8),
        RerankScore(passage_id="b", logit=2, probability=0.2, passage_tokens=50, text_characters=5),
        RerankScore(passage_id="a", logit=1, probability=0.4),
    ],
    abstention_threshold=0.35,
)


def fused(passage_id: str, rank: int) -> Candidate:
    return Candidate(passage=Passage(passage_id=passage_id), scores=Scores(fused_score=1 / rank, fused_rank=rank))


def explained(
    reranked: RerankResponse | None = RERANKED, passage_id: str = "", needed: int | None = None
) -> ExplainResponse:
    """`a`, `b`, `c` were reranked, two of them kept; `d` was beyond, `e` weighs nothing, and no leg found `f`."""
    weightless = Candidate(passage=Passage(passage_id="e"), scores=Scores(bm25_score=2, bm25_rank=1))
    standing = PassageStanding(
        passage=Passage(passage_id=passage_id), scores=Scores(dense_rank=140), limit=200, needed_top_k=needed
    )
    retrieved = RetrieveResponse(
        candidates=[fused("a", 1), fused("b", 2), fused("c", 3)],
        explanation=RetrievalExplanation(
            left_out=[fused("d", 4), weightless], leg_limit=100, standing=standing if passage_id else None
        ),
    )
    options = SearchOptions(top_k=2, num_candidates=3, rerank_weight=1)
    return explain(Evidence(read_search("Why?", options, CONFIG), retrieved, reranked), CONFIG)


def test_candidates_are_in_their_final_order_and_then_in_the_retrievers() -> None:
    response = explained()
    assert [(one.passage.passage_id, one.outcome) for one in response.candidates] == [
        ("c", KEPT),
        ("b", KEPT),
        ("a", BEYOND_TOP_K),
        ("d", BEYOND_NUM_CANDIDATES),
        ("e", WEIGHTLESS),
    ]
    assert [one.number for one in response.candidates if one.HasField("number")] == [1, 2]
    assert [one.scores.blended_rank for one in response.candidates[:3]] == [1, 2, 3]
    assert response.leg_limit == 100


def test_what_the_reranker_read_is_shown_for_what_it_read() -> None:
    response = explained()
    assert response.candidates[0].reading == RerankReading(tokens=90, truncated_tokens=7, text_characters=8)
    assert response.candidates[2].reading == RerankReading(), "a reranker that does not count says nothing"
    assert [one.HasField("reading") for one in response.candidates] == [True, True, True, False, False]


def test_without_the_reranker_the_retrieved_order_is_explained() -> None:
    response = explained(reranked=None)
    assert [(one.passage.passage_id, one.outcome) for one in response.candidates[:3]] == [
        ("a", KEPT),
        ("b", KEPT),
        ("c", BEYOND_TOP_K),
    ]
    assert not any(one.HasField("reading") for one in response.candidates)
    assert response.evidence.is_sufficient
    assert not response.evidence.HasField("threshold")


def test_the_verdict_is_that_of_an_answer() -> None:
    verdict = explained().evidence
    assert verdict.is_sufficient
    assert (verdict.best_probability, verdict.threshold) == pytest.approx((0.4, 0.35)), "the best is not the first"
    strict = RerankResponse(scores=RERANKED.scores, abstention_threshold=0.5)
    assert not explained(strict).evidence.is_sufficient


@pytest.mark.parametrize(
    ("passage_id", "needed", "outcome", "needed_top_k", "needed_num_candidates"),
    [
        pytest.param("c", 3, KEPT, None, None, id="kept"),
        pytest.param("a", 1, BEYOND_TOP_K, 3, None, id="beyond-top_k"),
        pytest.param("d", 4, BEYOND_NUM_CANDIDATES, None, 4, id="beyond-num_candidates"),
        pytest.param("e", None, WEIGHTLESS, None, None, id="weightless"),
        pytest.param("f", 10, NOT_FOUND, None, 10, id="not-found"),
        pytest.param("f", 11, NOT_FOUND, None, None, id="more-than-the-gateway-takes"),
        pytest.param("f", None, NOT_FOUND, None, None, id="out-of-reach"),
    ],
)
def test_a_passage_is_explained_with_what_it_needs(
    passage_id: str,
    needed: int | None,
    outcome: CandidateOutcome,
    needed_top_k: int | None,
    needed_num_candidates: int | None,
) -> None:
    passage = explained(passage_id=passage_id, needed=needed).passage
    assert (passage.candidate.passage.passage_id, passage.candidate.outcome) == (passage_id, outcome)
    assert (passage.standing.dense_rank, passage.standing_limit) == (140, 200)
    assert (passage.needed_top_k if passage.HasField("needed_top_k") else None) == needed_top_k
    found = passage.needed_num_candidates if passage.HasField("needed_num_candidates") else None
    assert found == needed_num_candidates


def test_a_passage_that_the_filter_excludes_is_explained_by_that() -> None:
    standing = PassageStanding(passage=Passage(passage_id="f"), limit=200, is_filtered_out=True)
    retrieved = RetrieveResponse(explanation=RetrievalExplanation(standing=standing))
    options = SearchOptions(filter=Filter(equals=Equals(field="year", value=MetadataValue(integer_value=1))))
    response = explain(Evidence(read_search("Why?", options, CONFIG), retrieved), CONFIG)
    assert response.passage.candidate.outcome == CandidateOutcome.CANDIDATE_OUTCOME_FILTERED_OUT
    assert not response.passage.HasField("needed_num_candidates")
    assert response.search.filter == options.filter


def test_a_passage_that_was_found_is_explained_by_its_own_entry() -> None:
    response = explained(passage_id="a")
    assert response.passage.candidate == response.candidates[2]


def test_the_options_are_shown_with_their_defaults() -> None:
    question = read_search("Why?", SearchOptions(collection="x"), GatewayConfig(rerank_weight=0.5))
    retrieved = RetrieveResponse(explanation=RetrievalExplanation(leg_limit=100))
    response = explain(Evidence(question, retrieved), CONFIG)
    assert response.search == SearchOptions(
        collection="x",
        mode=RetrievalMode.RETRIEVAL_MODE_HYBRID,
        top_k=5,
        num_candidates=30,
        rerank_weight=0.5,
    )
    assert not response.evidence.is_sufficient, "nothing was found"


def test_a_retriever_that_explains_nothing_is_named() -> None:
    with pytest.raises(FailedPrecondition) as raised:
        explain(Evidence(read_search("Why?", SearchOptions(), CONFIG), RetrieveResponse()), CONFIG)
    assert raised.value.reason == "RETRIEVER_TOO_OLD"
