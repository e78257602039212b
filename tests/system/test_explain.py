"""An explanation is of the very search that answers: the same legs, the same order, the same sources."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from cli.connection import Refusal
from tests.installation import Installation, grpcurl, run_cli
from trivium.v1 import gateway_pb2, passage_pb2, retriever_pb2

QUESTION = "What happens when the reranker is down?"
FAR_OFF = "Which bird sings the loudest in an orchard?"

KEPT = gateway_pb2.CANDIDATE_OUTCOME_KEPT
BEYOND_TOP_K = gateway_pb2.CANDIDATE_OUTCOME_BEYOND_TOP_K
BEYOND_NUM_CANDIDATES = gateway_pb2.CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES
WEIGHTLESS = gateway_pb2.CANDIDATE_OUTCOME_WEIGHTLESS
NOT_FOUND = gateway_pb2.CANDIDATE_OUTCOME_NOT_FOUND


def explain(
    trivium: Installation, question: str = QUESTION, passage_id: str | None = None, **options: Any
) -> gateway_pb2.ExplainResponse:
    search = gateway_pb2.SearchOptions(**options)
    request = gateway_pb2.ExplainRequest(question=question, search=search, passage_id=passage_id)
    response: gateway_pb2.ExplainResponse = trivium.stub("gateway").Explain(request, timeout=60)
    assert not response.report.degraded
    return response


def retrieve(trivium: Installation, **options: Any) -> list[passage_pb2.Candidate]:
    request = retriever_pb2.RetrieveRequest(question=QUESTION, **options)
    return list(trivium.stub("retriever").Retrieve(request, timeout=60).candidates)


def with_outcome(response: gateway_pb2.ExplainResponse, *outcomes: int) -> list[gateway_pb2.ExplainedCandidate]:
    return [candidate for candidate in response.candidates if candidate.outcome in outcomes]


def ids(candidates: list[gateway_pb2.ExplainedCandidate]) -> list[str]:
    return [candidate.passage.passage_id for candidate in candidates]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"top_k": 8, "num_candidates": 12, "rerank_weight": 1}, id="the-rerankers-order"),
        pytest.param({"fusion": retriever_pb2.FusionWeights(bm25_weight=0)}, id="a-leg-of-weight-zero"),
        pytest.param({"mode": retriever_pb2.RETRIEVAL_MODE_DENSE}, id="dense"),
        pytest.param({"mode": retriever_pb2.RETRIEVAL_MODE_SPARSE}, id="sparse"),
    ],
)
def test_what_is_kept_is_what_a_search_returns(trivium: Installation, options: dict[str, Any]) -> None:
    search = gateway_pb2.SearchOptions(**options)
    sources = (
        trivium.stub("gateway").Search(gateway_pb2.SearchRequest(question=QUESTION, search=search), timeout=60).sources
    )
    kept = with_outcome(explain(trivium, **options), KEPT)
    assert [(one.number, one.passage) for one in kept] == [(source.number, source.passage) for source in sources]
    for one, source in zip(kept, sources, strict=True):
        assert one.scores.blended_rank == source.scores.blended_rank == one.number
        assert one.scores.rerank_logit == pytest.approx(source.scores.rerank_logit, abs=1e-4)


def test_every_rank_of_every_leg_is_there_once(trivium: Installation) -> None:
    response = explain(trivium, num_candidates=7, top_k=3)
    scores = [candidate.scores for candidate in response.candidates]
    assert len(set(ids(list(response.candidates)))) == len(scores)
    dense = sorted(one.dense_rank for one in scores if one.HasField("dense_rank"))
    assert dense == list(range(1, response.leg_limit + 1))
    bm25 = sorted(one.bm25_rank for one in scores if one.HasField("bm25_rank"))
    assert bm25 == list(range(1, len(bm25) + 1)) != []
    assert sorted(one.fused_rank for one in scores) == list(range(1, len(scores) + 1))
    assert sorted(one.rerank_rank for one in scores if one.HasField("rerank_rank")) == list(range(1, 8))


def test_num_candidates_cuts_where_fusion_says(trivium: Installation) -> None:
    response = explain(trivium, num_candidates=7, top_k=3)
    judged, beyond = with_outcome(response, KEPT, BEYOND_TOP_K), with_outcome(response, BEYOND_NUM_CANDIDATES)
    assert sorted(one.scores.fused_rank for one in judged) == list(range(1, 8))
    assert [one.scores.blended_rank for one in judged] == list(range(1, 8))
    assert [one.scores.fused_rank for one in beyond] == list(range(8, 8 + len(beyond)))
    assert all(one.reading.tokens > 0 for one in judged)
    assert all(one.reading.text_characters == len(one.passage.text) for one in judged)
    assert not any(one.HasField("reading") or one.scores.HasField("rerank_logit") for one in beyond)


def test_what_only_a_weightless_leg_found_is_shown_as_that(trivium: Installation) -> None:
    response = explain(trivium, fusion=retriever_pb2.FusionWeights(dense_weight=0))
    weightless = with_outcome(response, WEIGHTLESS)
    assert weightless
    assert list(response.candidates)[-len(weightless) :] == weightless
    assert all(one.scores.HasField("dense_rank") and not one.scores.HasField("bm25_rank") for one in weightless)


def test_a_passage_that_no_leg_found_is_brought_in_by_what_it_is_said_to_need(trivium: Installation) -> None:
    found = set(ids(list(explain(trivium, num_candidates=5).candidates)))
    nearest = retrieve(trivium, top_k=1_000, mode=retriever_pb2.RETRIEVAL_MODE_DENSE)
    missed = next(one for one in nearest if one.passage.passage_id not in found)
    passage_id = missed.passage.passage_id

    explained = explain(trivium, passage_id=passage_id, num_candidates=5).passage
    assert (explained.candidate.outcome, explained.candidate.passage) == (NOT_FOUND, missed.passage)
    assert explained.standing.dense_rank == missed.scores.dense_rank > 100
    needed = explained.needed_num_candidates
    assert passage_id in [one.passage.passage_id for one in retrieve(trivium, top_k=needed)]
    assert passage_id not in [one.passage.passage_id for one in retrieve(trivium, top_k=needed - 1)]


def test_a_passage_beyond_top_k_is_kept_with_the_one_it_needs(trivium: Installation) -> None:
    passage_id = ids(with_outcome(explain(trivium), BEYOND_TOP_K))[3]
    explained = explain(trivium, passage_id=passage_id).passage
    assert (explained.candidate.outcome, explained.needed_top_k) == (BEYOND_TOP_K, 9)
    assert explain(trivium, passage_id=passage_id, top_k=9).passage.candidate.number == 9
    assert explain(trivium, passage_id=passage_id, top_k=8).passage.candidate.outcome == BEYOND_TOP_K


def test_a_question_that_would_be_refused_is_explained_with_its_verdict(trivium: Installation) -> None:
    response = explain(trivium, FAR_OFF)
    answer = trivium.stub("gateway").Answer(gateway_pb2.AnswerRequest(question=FAR_OFF), timeout=60)
    assert not answer.text
    assert not response.evidence.is_sufficient
    assert response.evidence.best_probability < response.evidence.threshold
    assert explain(trivium).evidence.is_sufficient


@pytest.mark.parametrize(
    ("passage_id", "code", "field"),
    [
        pytest.param("docs/operations.md#9999", "NOT_FOUND", [], id="no-such-passage"),
        pytest.param("", "INVALID_ARGUMENT", ["passage_id"], id="empty"),
        pytest.param("x" * 513, "INVALID_ARGUMENT", ["passage_id"], id="long"),
    ],
)
def test_a_passage_that_cannot_be_explained_is_refused(
    trivium: Installation, passage_id: str, code: str, field: list[str]
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        explain(trivium, passage_id=passage_id)
    refusal = Refusal.of(raised.value)
    assert (refusal.code, [one["field"] for one in refusal.field_violations]) == (code, field)


def test_the_command_prints_the_candidates_and_the_reason(trivium: Installation) -> None:
    passage_id = ids(with_outcome(explain(trivium), BEYOND_NUM_CANDIDATES))[0]
    asked = ["explain", QUESTION, "--passage-id", passage_id, "--gateway", trivium.address("gateway")]
    printed = run_cli(*asked)
    assert "Kept: " in printed
    assert "The reranker never read it: fusion ranks it 31, and num_candidates is 30." in printed
    assert "With --num-candidates 31 the reranker reads it." in printed
    assert json.loads(run_cli(*asked, "--json"))["passage"]["needed_num_candidates"] == 31


def test_grpcurl_calls_explain(trivium: Installation) -> None:
    called = grpcurl(trivium.address("gateway"), "trivium.v1.GatewayService/Explain", data={"question": QUESTION})
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["candidates"][0]["outcome"] == "CANDIDATE_OUTCOME_KEPT"
