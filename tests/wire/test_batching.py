"""A batched model behind a real server: one poison item fails alone, and its neighbours never learn of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from chassis import deadline
from chassis.config import BatchConfig
from chassis.device import Device
from chassis.errors import INTERNAL_TEXT
from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from chassis.runtime import Runtime
from chassis.stats import stage_stats
from trivium.v1 import passage_pb2, reranker_pb2, reranker_pb2_grpc

POISON = "poison"


@dataclass(frozen=True)
class Words:
    """A batch of texts."""

    texts: Sequence[str]
    num_tokens: int
    num_padded_tokens: int


class CountingModel:
    """Counts characters. Fails on a poisonous text, with the whole batch that it is in."""

    pads = True

    def cost(self, text: str) -> int:
        return len(text)

    def prepare(self, texts: Sequence[str]) -> Words:
        return Words(texts, sum(map(len, texts)), len(texts) * max(map(len, texts)))

    def run(self, batch: Words) -> list[int]:
        if POISON in batch.texts:
            raise ValueError("cannot count this")
        return [len(text) for text in batch.texts]


class CountingService(reranker_pb2_grpc.RerankerServiceServicer):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.batcher = runtime.batcher(CountingModel())

    async def Rerank(self, request: reranker_pb2.RerankRequest, context: Any) -> reranker_pb2.RerankResponse:
        served = await self.batcher.submit(request.question, deadline=deadline.current())
        score = reranker_pb2.RerankScore(passage_id="length", logit=served.output)
        stats = passage_pb2.StageStats(**stage_stats(self._runtime, None, [served.stats]))
        return reranker_pb2.RerankResponse(scores=[score], stats=stats)


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    runtime = Runtime("counter", "here", BatchConfig(), Metrics(), Device("cpu"))
    yield runtime
    runtime.close()


@pytest.fixture
async def stub(runtime: Runtime) -> AsyncIterator[reranker_pb2_grpc.RerankerServiceAsyncStub]:
    service = CountingService(runtime)
    interceptor = ServerInterceptor(runtime.metrics, default_deadline_s=10, max_deadline_s=10)
    interceptor.ready = True
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    reranker_pb2_grpc.add_RerankerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    service.batcher.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield reranker_pb2_grpc.RerankerServiceStub(channel)
    await server.stop(0)
    await service.batcher.close()


async def test_one_poison_item_in_a_batch_fails_alone(
    runtime: Runtime, stub: reranker_pb2_grpc.RerankerServiceAsyncStub
) -> None:
    texts = [POISON if number == 13 else "a" * (1 + number % 7) for number in range(32)]
    # The device is held until all wait, so that the poison shares its batch.
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    held = asyncio.create_task(
        runtime.on_device(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
    )
    first = asyncio.create_task(_count(stub, "first"))
    await asyncio.sleep(0.1)
    calls = [asyncio.create_task(_count(stub, text)) for text in texts]
    await asyncio.sleep(0.3)
    release.set()
    await held
    await first
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failures = {number: one for number, one in enumerate(outcomes) if isinstance(one, BaseException)}
    assert set(failures) == {13}
    error = failures[13]
    assert isinstance(error, grpc.aio.AioRpcError)
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    assert [one for number, one in enumerate(outcomes) if number != 13] == [
        len(text) for text in texts if text != POISON
    ]
    shown = runtime.metrics.registry.get_sample_value("trivium_batch_failed_total")
    assert shown is not None
    assert shown >= 2, "the poison was alone from the beginning: nothing was split"


async def _count(stub: reranker_pb2_grpc.RerankerServiceAsyncStub, text: str) -> int:
    reply = await stub.Rerank(reranker_pb2.RerankRequest(question=text), timeout=10)
    return int(reply.scores[0].logit)
