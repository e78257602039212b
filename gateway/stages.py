"""The three stages as the gateway calls them: what they are sent, how long they have, when they are asked again.

gRPC repeats a call that is UNAVAILABLE before its first message (gateway/channel.py). It repeats neither one
that a stopping replica cut off (CANCELLED) nor a stream that broke. These do, once, while there is time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

import grpc

from chassis.deadline import Deadline
from chassis.errors import FailedPrecondition
from gateway.config import GatewayConfig
from gateway.connections import Connections
from gateway.stage_errors import GONE, StageFailed, from_rpc_error
from trivium.v1.generator_pb2 import GenerateRequest, GenerateResponse
from trivium.v1.passage_pb2 import Candidate
from trivium.v1.reranker_pb2 import RerankCandidate, RerankRequest, RerankResponse
from trivium.v1.retriever_pb2 import RetrieveRequest, RetrieveResponse

Reply = TypeVar("Reply")
Generation = grpc.aio.UnaryStreamCall[GenerateRequest, GenerateResponse]


class Stages:
    """The retriever, the reranker and the generator. Every method raises the errors of gateway/stage_errors.py."""

    def __init__(self, config: GatewayConfig) -> None:
        self._connections = Connections(config)

    def start(self) -> None:
        """Follow the certificate's files, where there are any."""
        self._connections.start()

    async def close(self) -> None:
        """Close the channels. Calls still running are cancelled."""
        await self._connections.close()

    async def retrieve(self, request: RetrieveRequest, within: Deadline) -> RetrieveResponse:
        """What the retriever found. Raises FailedPrecondition when it knows no filter, and was sent one."""

        async def ask() -> RetrieveResponse:
            return await self._connections.retriever.Retrieve(request, timeout=within.remaining_s())

        found = await repeat_once("retriever", ask, within)
        if request.HasField("filter") and not found.is_filtered:
            raise FailedPrecondition("RETRIEVER_TOO_OLD", "the retriever is older than the gateway and filters nothing")
        return found

    async def rerank(self, question: str, candidates: Sequence[Candidate], within: Deadline) -> RerankResponse:
        """The reranker's judgement: one score for each candidate. Raises StageFailed when any lacks one."""
        request = RerankRequest(question=question, candidates=[_to_judge(candidate) for candidate in candidates])

        async def ask() -> RerankResponse:
            return await self._connections.reranker.Rerank(request, timeout=within.remaining_s())

        reranked = await repeat_once("reranker", ask, within)
        judged = sorted(score.passage_id for score in reranked.scores)
        if judged != sorted(candidate.passage_id for candidate in request.candidates):
            raise StageFailed("reranker", "scores do not match the candidates")
        return reranked

    async def generate(self, request: GenerateRequest, within: Deadline) -> AsyncGenerator[GenerateResponse]:
        """The generator's events as they come, `finished` last. Asked again only before the first of them."""

        async def begin() -> tuple[Generation, GenerateResponse | None]:
            call = self._connections.generator.Generate(request, timeout=within.remaining_s())
            return call, await _next(call)

        call, event = await repeat_once("generator", begin, within)
        try:
            is_finished = False
            while event is not None:
                yield event
                is_finished = event.HasField("finished")
                event = await _next(call)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error("generator", error) from None
        finally:
            call.cancel()
        _require_finished(is_finished)

    async def generate_whole(self, request: GenerateRequest, within: Deadline) -> AsyncGenerator[GenerateResponse]:
        """The generator's events once all are there. Asked again from the start wherever the stream broke."""

        async def drain() -> list[GenerateResponse]:
            call = self._connections.generator.Generate(request, timeout=within.remaining_s())
            return [event async for event in call]

        events = await repeat_once("generator", drain, within)
        _require_finished(bool(events) and events[-1].HasField("finished"))
        for event in events:
            yield event


async def repeat_once(stage: str, ask: Callable[[], Awaitable[Reply]], within: Deadline) -> Reply:
    """What `ask` returns; asked a second time if the stage went away during the first and time is left."""
    try:
        return await ask()
    except grpc.aio.AioRpcError as error:
        if error.code() not in GONE or within.remaining_s() <= 0:
            raise from_rpc_error(stage, error) from None
    try:
        return await ask()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(stage, error) from None


async def _next(call: Generation) -> GenerateResponse | None:
    event = await call.read()
    return event if isinstance(event, GenerateResponse) else None


def _require_finished(is_finished: bool) -> None:
    if not is_finished:
        raise StageFailed("generator", "the stream ended without `finished`")


def _to_judge(candidate: Candidate) -> RerankCandidate:
    passage = candidate.passage
    return RerankCandidate(
        passage_id=passage.passage_id,
        title=passage.title,
        heading_path=passage.heading_path,
        text=passage.text,
    )
