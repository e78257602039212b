"""Why each candidate stands where it stands, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chassis.errors import FailedPrecondition
from gateway.config import GatewayConfig
from gateway.evidence import Evidence
from gateway.question import Question
from trivium.v1.gateway_pb2 import (
    CandidateOutcome,
    ExplainedCandidate,
    ExplainResponse,
    PassageExplanation,
    RerankReading,
    SearchOptions,
)
from trivium.v1.passage_pb2 import Candidate
from trivium.v1.reranker_pb2 import RerankScore
from trivium.v1.retriever_pb2 import PassageStanding, RetrievalMode


def explain(evidence: Evidence, config: GatewayConfig) -> ExplainResponse:
    """All but the report. Raises FailedPrecondition: the retriever is too old to explain."""
    if not evidence.retrieved.HasField("explanation"):
        raise FailedPrecondition("RETRIEVER_TOO_OLD", "the retriever is older than the gateway and explains nothing")
    explanation = evidence.retrieved.explanation
    candidates = [*_ordered(evidence), *_left_out(explanation.left_out)]
    return ExplainResponse(
        candidates=candidates,
        passage=_passage(explanation.standing, candidates, config) if explanation.HasField("standing") else None,
        evidence=evidence.verdict(),
        search=_applied(evidence.question),
        leg_limit=explanation.leg_limit,
    )


def _ordered(evidence: Evidence) -> Iterator[ExplainedCandidate]:
    scores = evidence.reranked.scores if evidence.reranked else ()
    reading_by_passage_id = {score.passage_id: _reading(score) for score in scores}
    for rank, candidate in enumerate(evidence.ordered(), 1):
        is_kept = rank <= evidence.question.top_k
        yield ExplainedCandidate(
            passage=candidate.passage,
            scores=candidate.scores,
            reading=reading_by_passage_id.get(candidate.passage.passage_id),
            outcome=(
                CandidateOutcome.CANDIDATE_OUTCOME_KEPT if is_kept else CandidateOutcome.CANDIDATE_OUTCOME_BEYOND_TOP_K
            ),
            number=rank if is_kept else None,
        )


def _reading(score: RerankScore) -> RerankReading:
    return RerankReading(
        tokens=score.passage_tokens if score.HasField("passage_tokens") else None,
        truncated_tokens=score.truncated_tokens,
        text_characters=score.text_characters if score.HasField("text_characters") else None,
    )


def _left_out(left_out: Iterable[Candidate]) -> Iterator[ExplainedCandidate]:
    for candidate in left_out:
        outcome = (
            CandidateOutcome.CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES
            if candidate.scores.HasField("fused_rank")
            else CandidateOutcome.CANDIDATE_OUTCOME_WEIGHTLESS
        )
        yield ExplainedCandidate(passage=candidate.passage, scores=candidate.scores, outcome=outcome)


def _passage(
    standing: PassageStanding, candidates: list[ExplainedCandidate], config: GatewayConfig
) -> PassageExplanation:
    passage_id = standing.passage.passage_id
    nowhere = ExplainedCandidate(
        passage=standing.passage,
        outcome=(
            CandidateOutcome.CANDIDATE_OUTCOME_FILTERED_OUT
            if standing.is_filtered_out
            else CandidateOutcome.CANDIDATE_OUTCOME_NOT_FOUND
        ),
    )
    ranked = ((rank, one) for rank, one in enumerate(candidates, 1) if one.passage.passage_id == passage_id)
    rank, candidate = next(ranked, (0, nowhere))
    needed_top_k = needed_num_candidates = None
    if candidate.outcome == CandidateOutcome.CANDIDATE_OUTCOME_BEYOND_TOP_K:
        needed_top_k = rank
    elif candidate.outcome != CandidateOutcome.CANDIDATE_OUTCOME_KEPT and standing.HasField("needed_top_k"):
        needed_num_candidates = standing.needed_top_k
    return PassageExplanation(
        candidate=candidate,
        standing=standing.scores,
        standing_limit=standing.limit,
        needed_top_k=_possible(needed_top_k, config.max_top_k),
        needed_num_candidates=_possible(needed_num_candidates, config.max_candidates),
    )


def _possible(needed: int | None, most: int) -> int | None:
    return needed if needed is not None and needed <= most else None


def _applied(question: Question) -> SearchOptions:
    retrieval = question.retrieval
    return SearchOptions(
        collection=retrieval.collection,
        mode=retrieval.mode or RetrievalMode.RETRIEVAL_MODE_HYBRID,
        top_k=question.top_k,
        num_candidates=retrieval.top_k,
        fusion=retrieval.fusion if retrieval.HasField("fusion") else None,
        rerank_weight=question.rerank_weight,
        min_index_version=retrieval.min_index_version,
        filter=retrieval.filter if retrieval.HasField("filter") else None,
    )
