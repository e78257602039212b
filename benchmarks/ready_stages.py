"""Three stages that answer at once, with what real ones answer: `python -m benchmarks.ready_stages ADDRESS`.

With the address of such a process as a second argument it serves `/floor.Echo/Relay` instead, which asks those stages
what a gateway asks and looks into none of the bytes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from benchmarks import echo, workload
from benchmarks.stage_loads import RERANK, RETRIEVE
from trivium.v1 import gateway_pb2, generator_pb2, passage_pb2, reranker_pb2, retriever_pb2

NUM_CANDIDATES = 30
"""What the gateway asks for unless told otherwise."""

TOP_K = 5
"""Sources of an answer, unless told otherwise."""

GENERATE = "/trivium.v1.GeneratorService/Generate"


def passages() -> list[passage_pb2.Passage]:
    """Thirty, with their text."""
    return [
        passage_pb2.Passage(passage_id=str(number), document_id="one", title="One", text=text)
        for number, text in enumerate(workload.texts(NUM_CANDIDATES), 1)
    ]


def retrieved() -> bytes:
    """All of them as candidates."""
    candidates = [
        passage_pb2.Candidate(
            passage=passage, scores=passage_pb2.Scores(fused_score=1 / (60 + number), fused_rank=number)
        )
        for number, passage in enumerate(passages(), 1)
    ]
    return retriever_pb2.RetrieveResponse(candidates=candidates, index_version=1).SerializeToString()


def to_rerank() -> bytes:
    """The request that makes scores of them."""
    candidates = [
        reranker_pb2.RerankCandidate(passage_id=passage.passage_id, title=passage.title, text=passage.text)
        for passage in passages()
    ]
    return reranker_pb2.RerankRequest(question=workload.QUESTION, candidates=candidates).SerializeToString()


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


def to_generate() -> bytes:
    """The request that makes an answer of the first."""
    request = generator_pb2.GenerateRequest(question=workload.QUESTION, passages=passages()[:TOP_K])
    return request.SerializeToString()


def answered() -> bytes:
    """What the caller gets."""
    sources = [gateway_pb2.Source(passage=passage) for passage in passages()[:TOP_K]]
    return gateway_pb2.AnswerResponse(text="".join(workload.texts(2)), sources=sources).SerializeToString()


def stages() -> dict[str, dict[str, Any]]:
    """Each stage's one method."""
    found, scores, events = retrieved(), reranked(), generated()

    async def retrieve(request: bytes, context: Any) -> bytes:
        return found

    async def rerank(request: bytes, context: Any) -> bytes:
        return scores

    async def generate(request: bytes, context: Any) -> Any:
        for event in events:
            yield event

    handlers: dict[str, Any] = {
        RETRIEVE: grpc.unary_unary_rpc_method_handler(retrieve),
        RERANK: grpc.unary_unary_rpc_method_handler(rerank),
        GENERATE: grpc.unary_stream_rpc_method_handler(generate),
    }
    names = {full_name: full_name.strip("/").split("/") for full_name in handlers}
    return {service: {method: handlers[full_name]} for full_name, (service, method) in names.items()}


def relay(behind: str) -> dict[str, Any]:
    """The method of a gateway that only passes on: the same calls with the same bytes."""
    channel = grpc.aio.insecure_channel(behind)
    retrieve: Any = channel.unary_unary(RETRIEVE)
    rerank: Any = channel.unary_unary(RERANK)
    generate: Any = channel.unary_stream(GENERATE)
    rerank_request, generate_request, answer = to_rerank(), to_generate(), answered()

    async def pass_on(request: bytes, context: Any) -> bytes:
        await retrieve(request)
        await rerank(rerank_request)
        async for _ in generate(generate_request):
            pass
        return answer

    return {"Relay": grpc.unary_unary_rpc_method_handler(pass_on)}


async def main(address: str, behind: str = "") -> None:
    """Channels belong to the event loop on which they are opened."""
    await echo.serve(address, {echo.NAME: relay(behind)} if behind else stages())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
