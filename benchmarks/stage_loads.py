"""What the retriever and the reranker are asked for in every benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from trivium.v1 import reranker_pb2, retriever_pb2

RETRIEVE = "/trivium.v1.RetrieverService/Retrieve"
RERANK = "/trivium.v1.RerankerService/Rerank"


def retrieve_request(question: str) -> bytes:
    """Encode the question and find the nearest passage: next to nothing but encoding in a small collection."""
    request = retriever_pb2.RetrieveRequest(question=question, mode=retriever_pb2.RETRIEVAL_MODE_DENSE, top_k=1)
    return request.SerializeToString()


def rerank_request(question: str, passage: str) -> bytes:
    """Judge one passage."""
    candidate = reranker_pb2.RerankCandidate(passage_id="1", text=passage)
    return reranker_pb2.RerankRequest(question=question, candidates=[candidate]).SerializeToString()


def pairs(questions: Sequence[str], passages: Sequence[str]) -> list[tuple[str, str]]:
    """Each passage with a question, the questions over and over."""
    return [(questions[number % len(questions)], passage) for number, passage in enumerate(passages)]
