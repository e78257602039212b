"""The final order: the reranker's blended with the retriever's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trivium.v1.passage_pb2 import Candidate
from trivium.v1.reranker_pb2 import RerankScore

RANK_DAMPING = 60
"""k of reciprocal rank fusion (Cormack et al., 2009)."""


def blend(retrieved: Sequence[Candidate], reranked: Sequence[RerankScore], weight: float) -> Iterator[Candidate]:
    """The candidates in their final order, with the reranker's and the blended scores filled in as they are drawn.

    Ordered by `weight / (60 + rerank rank) + (1 - weight) / (60 + retrieved rank)`, highest first; equal sums
    stay in retrieved order. Ranks and not scores, because the scores of different models share no scale. The
    retrieved rank is the place in `retrieved`: by fused score, or by the one leg's in DENSE and SPARSE mode.
    Both sequences are best first and hold the same passages.
    """
    rank_by_passage_id = {score.passage_id: rank for rank, score in enumerate(reranked, 1)}
    rerank_ranks = [rank_by_passage_id[candidate.passage.passage_id] for candidate in retrieved]
    sums = [
        _reciprocal(rerank_rank, weight) + _reciprocal(retrieved_rank, 1 - weight)
        for retrieved_rank, rerank_rank in enumerate(rerank_ranks, 1)
    ]
    for blended_rank, place in enumerate(sorted(range(len(sums)), key=sums.__getitem__, reverse=True), 1):
        rank = rerank_ranks[place]
        candidate = _with_score(retrieved[place], reranked[rank - 1], rank)
        candidate.scores.blended_score, candidate.scores.blended_rank = sums[place], blended_rank
        yield candidate


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
