"""Three stages that answer at once, with what real ones answer: `python -m benchmarks.ready_stages ADDRESS`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from benchmarks import workload
from trivium.v1 import generator_pb2, passage_pb2, reranker_pb2, retriever_pb2

NUM_CANDIDATES = 30
"""What the gateway asks for unless told otherwise."""

METHODS = {
    "trivium.v1.RetrieverService": "Retrieve",
    "trivium.v1.RerankerService": "Rerank",
    "trivium.v1.GeneratorService": "Generate",
}


def retrieved() -> bytes:
    """Thirty candidates with their text."""
    candidates = [
        passage_pb2.Candidate(
            passage=passage_pb2.Passage(passage_id=str(number), document_id="one", title="One", text=text),
            scores=passage_pb2.Scores(fused_score=1 / (60 + number), fused_rank=number),
        )
        for number, text in enumerate(workload.texts(NUM_CANDIDATES), 1)
    ]
    return retriever_pb2.RetrieveResponse(candidates=candidates, index_version=1).SerializeToString()


def reranked() -> bytes:
    """A score for each."""
    scores = [
        reranker_pb2.RerankScore(passage_id=str(number), logit=1 / number) for number in range(1, NUM_CANDIDATES + 1)
    ]
    return reranker_pb2.RerankResponse(scores=scores).SerializeToString()


def generated() -> list[bytes]:
    """Two sentences and the end."""
    deltas = [generator_pb2.GenerateResponse(delta=generator_pb2.TextDelta(text=text)) for text in workload.texts(2)]
    finished = generator_pb2.GenerateResponse(
        finished=generator_pb2.GenerateFinished(reason=generator_pb2.FINISH_REASON_STOP)
    )
    return [one.SerializeToString() for one in (*deltas, finished)]


async def serve(address: str) -> None:
    """Until the process ends."""
    found, scores, events = retrieved(), reranked(), generated()

    async def retrieve(request: bytes, context: Any) -> bytes:
        return found

    async def rerank(request: bytes, context: Any) -> bytes:
        return scores

    async def generate(request: bytes, context: Any) -> Any:
        for event in events:
            yield event

    behaviours: list[Any] = [
        grpc.unary_unary_rpc_method_handler(retrieve),
        grpc.unary_unary_rpc_method_handler(rerank),
        grpc.unary_stream_rpc_method_handler(generate),
    ]
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for (service, method), behaviour in zip(METHODS.items(), behaviours, strict=True):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: behaviour}),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
