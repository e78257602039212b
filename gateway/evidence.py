"""What was found for a question, in its final order, and whether it is enough for an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.blend import blend
from gateway.question import Question
from trivium.v1.gateway_pb2 import EvidenceVerdict, Source
from trivium.v1.passage_pb2 import Candidate
from trivium.v1.reranker_pb2 import RerankResponse
from trivium.v1.retriever_pb2 import RetrieveResponse


@dataclass(frozen=True)
class Evidence:
    """What the retriever found for a question, and what the reranker said of it."""

    question: Question
    retrieved: RetrieveResponse
    reranked: RerankResponse | None = None
    """None where nothing was found, or the reranker was left out."""

    def ordered(self) -> Iterable[Candidate]:
        """All candidates in their final order; the scores of each are whole when it is drawn."""
        if self.reranked is None:
            return self.retrieved.candidates
        return blend(self.retrieved.candidates, self.reranked.scores, self.question.rerank_weight)

    def sources(self) -> list[Source]:
        """The best of them, at most `top_k`."""
        return [
            Source(number=number, passage=candidate.passage, scores=candidate.scores)
            for number, candidate in enumerate(islice(self.ordered(), self.question.top_k), 1)
        ]

    def dense_scores(self, sources: Sequence[Source]) -> list[float]:
        """A dense score for each source; none at all where the dense leg found nothing or was not asked.

        A passage that only BM25 found is given the lowest score that the dense leg told. Where the index is exact, its
        own is no higher.
        """
        told = [one.scores.dense_score for one in self.retrieved.candidates if one.scores.HasField("dense_score")]
        if not told:
            return []
        lowest = min(told)
        return [source.scores.dense_score if source.scores.HasField("dense_score") else lowest for source in sources]

    def verdict(self) -> EvidenceVerdict:
        """Not sufficient where an answer would be a guess: nothing was found, or the best of it is judged too weak.

        Without a calibration, and without the reranker, whatever was found is enough.
        """
        scores = self.reranked.scores if self.reranked else ()
        probabilities = [score.probability for score in scores if score.HasField("probability")]
        if not self.reranked or not self.reranked.HasField("abstention_threshold") or not probabilities:
            return EvidenceVerdict(is_sufficient=bool(self.retrieved.candidates))
        best, threshold = max(probabilities), self.reranked.abstention_threshold
        return EvidenceVerdict(is_sufficient=best >= threshold, best_probability=best, threshold=threshold)
