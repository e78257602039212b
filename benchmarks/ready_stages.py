"""Three stages that answer at once, with what real ones answer: `python -m benchmarks.ready_stages ADDRESS`.

With the address of such stages as a second argument, `/floor.Echo/Relay` asks them what a gateway asks, and passes on
bytes that it never looks into.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import grpc

from benchmarks import echo, workload
from trivium.v1 import gateway_pb2, generator_pb2, passage_pb2, reranker_pb2, retriever_pb2

NUM_CANDIDATES = 30
"""What the gateway asks for unless told otherwise."""

TOP_K = 5
"""Sources of an answer, unless told otherwise."""

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


def to_rerank() -> bytes:
    """The request for those scores."""
    candidates = [
        reranker_pb2.RerankCandidate(passage_id=str(number), title="One", text=text)
        for number, text in enumerate(workload.texts(NUM_CANDIDATES), 1)
    ]
    return reranker_pb2.RerankRequest(question=workload.QUESTION, candidates=candidates).SerializeToString()


def to_generate() -> bytes:
    """The request for that answer."""
    found = retriever_pb2.RetrieveResponse.FromString(retrieved())
    passages = [candidate.passage for candidate in found.candidates[:TOP_K]]
    return generator_pb2.GenerateRequest(question=workload.QUESTION, passages=passages).SerializeToString()


def answered() -> bytes:
    """What the caller gets."""
    found = retriever_pb2.RetrieveResponse.FromString(retrieved())
    sources = [gateway_pb2.Source(passage=candidate.passage) for candidate in found.candidates[:TOP_K]]
    text = "".join(workload.texts(2))
    return gateway_pb2.AnswerResponse(text=text, sources=sources).SerializeToString()


def handlers() -> Iterator[tuple[str, dict[str, Any]]]:
    """The stages: service, and its methods."""
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
    for (service, method), behaviour in zip(METHODS.items(), behaviours, strict=True):
        yield service, {method: behaviour}


def relay(behind: str) -> dict[str, Any]:
    """The one method of a gateway that only passes on: the same calls with the same bytes."""
    channel = grpc.aio.insecure_channel(behind)
    full_names = [f"/{service}/{method}" for service, method in METHODS.items()]
    retrieve: Any = channel.unary_unary(full_names[0])
    rerank: Any = channel.unary_unary(full_names[1])
    generate: Any = channel.unary_stream(full_names[2])
    rerank_request, generate_request, answer = to_rerank(), to_generate(), answered()

    async def pass_on(request: bytes, context: Any) -> bytes:
        await retrieve(request)
        await rerank(rerank_request)
        async for _ in generate(generate_request):
            pass
        return answer

    return {"Relay": grpc.unary_unary_rpc_method_handler(pass_on)}


async def serve(address: str, behind: str) -> None:
    """Until the process ends. `behind` is where a relay's calls go; empty: no relay."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    services = [(echo.NAME, relay(behind))] if behind else handlers()
    for name, methods in services:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
