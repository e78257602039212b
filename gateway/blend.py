"""The final order: the reranker's blended with the retriever's."""

from __future__ import annotations

from collections.abc import Sequence

from trivium.v1.passage_pb2 import Candidate
from trivium.v1.reranker_pb2 import RerankScore

RANK_DAMPING = 60
"""k of reciprocal rank fusion (Cormack et al., 2009)."""


def blend(retrieved: Sequence[Candidate], reranked: Sequence[RerankScore], weight: float) -> list[Candidate]:
    """The candidates in their final order, with the reranker's scores filled in.

    Ordered by `weight / (60 + rerank rank) + (1 - weight) / (60 + retrieved rank)`, highest first; equal sums
    stay in retrieved order. Ranks and not scores, because the scores of different models share no scale. The
    retrieved rank is the place in `retrieved`: by fused score, or by the one leg's in DENSE and SPARSE mode.
    Both sequences are best first and hold the same passages.
    """
    position_by_passage_id = {score.passage_id: position for position, score in enumerate(reranked)}
    ordered: list[tuple[float, Candidate]] = []
    for retrieved_rank, candidate in enumerate(retrieved, 1):
        position = position_by_passage_id[candidate.passage.passage_id]
        judged = _with_score(candidate, reranked[position], position + 1)
        ordered.append((_reciprocal(position + 1, weight) + _reciprocal(retrieved_rank, 1 - weight), judged))
    return [candidate for _, candidate in sorted(ordered, key=lambda pair: -pair[0])]


def _reciprocal(rank: int, weight: float) -> float:
    return weight / (RANK_DAMPING + rank)


def _with_score(candidate: Candidate, score: RerankScore, rank: int) -> Candidate:
    judged = Candidate()
    judged.CopyFrom(candidate)
    judged.scores.rerank_logit = score.logit
    judged.scores.rerank_rank = rank
    if score.HasField("evidence"):
        judged.scores.rerank_evidence = score.evidence
    if score.HasField("probability"):
        judged.scores.rerank_probability = score.probability
    return judged
