"""How the gateway's channels pick replicas, ask again, and notice one that is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2

from gateway.channel import open_channel
from tests.wire.scripted_stages import ScriptedRetriever, fail, serving
from trivium.v1.retriever_pb2 import RetrieveRequest
from trivium.v1.retriever_pb2_grpc import RetrieverServiceStub

if TYPE_CHECKING:
    from trivium.v1.retriever_pb2_grpc import RetrieverServiceAsyncStub

ASK = RetrieveRequest(question="?")

REPLICA = """
import asyncio
from tests.wire.scripted_stages import ScriptedRetriever, serving

async def main():
    retriever = ScriptedRetriever(["a"])
    async with serving(retriever):
        print(retriever.port, flush=True)
        await retriever.called.wait()
        print("called", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@asynccontextmanager
async def stub_for(*addresses: str) -> AsyncIterator[RetrieverServiceAsyncStub]:
    async with open_channel(f"ipv4:{','.join(addresses)}", ScriptedRetriever.full_name, 1 << 20) as channel:
        yield RetrieverServiceStub(channel)


async def until_all_have_answered(stub: RetrieverServiceAsyncStub, *retrievers: ScriptedRetriever) -> None:
    async with asyncio.timeout(5):
        while not all(retriever.requests for retriever in retrievers):
            await stub.Retrieve(ASK, timeout=5)


async def test_calls_go_to_the_replicas_in_turn() -> None:
    first, second = ScriptedRetriever(["a"]), ScriptedRetriever(["a"])
    async with serving(first, second), stub_for(first.address, second.address) as stub:
        await until_all_have_answered(stub, first, second)
        before = len(first.requests), len(second.requests)
        for _ in range(10):
            await stub.Retrieve(ASK, timeout=5)
        assert (len(first.requests) - before[0], len(second.requests) - before[1]) == (5, 5)


async def test_a_replica_that_is_not_serving_gets_no_calls() -> None:
    drained, healthy = ScriptedRetriever(["a"]), ScriptedRetriever(["a"])
    async with serving(drained, healthy), stub_for(drained.address, healthy.address) as stub:
        await until_all_have_answered(stub, drained, healthy)
        await drained.healths.set(drained.full_name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(0.2)
        before = len(drained.requests)
        for _ in range(10):
            await stub.Retrieve(ASK, timeout=5)
        assert len(drained.requests) == before


async def test_an_unavailable_stage_is_asked_three_times() -> None:
    retriever = ScriptedRetriever(["a"])
    retriever.acts.extend([fail(grpc.StatusCode.UNAVAILABLE)] * 2)
    async with serving(retriever), stub_for(retriever.address) as stub:
        found = await stub.Retrieve(ASK, timeout=5)
    assert len(found.candidates) == 1
    assert len(retriever.requests) == 3


async def test_a_broken_stage_is_asked_once() -> None:
    retriever = ScriptedRetriever(["a"])
    retriever.acts.append(fail(grpc.StatusCode.INTERNAL))
    async with serving(retriever), stub_for(retriever.address) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Retrieve(ASK, timeout=5)
    assert len(retriever.requests) == 1


@pytest.mark.slow
async def test_a_call_to_a_frozen_replica_is_answered_by_another_long_before_its_deadline() -> None:
    healthy = ScriptedRetriever(["a"])
    replica = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REPLICA, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": ".:protos"}
    )
    assert replica.stdout is not None
    try:
        port = int(await replica.stdout.readline())
        async with serving(healthy), stub_for(f"127.0.0.1:{port}", healthy.address) as stub:
            await asyncio.wait_for(replica_has_answered(stub, replica.stdout), timeout=5)
            replica.send_signal(signal.SIGSTOP)
            before = len(healthy.requests)
            began = time.monotonic()
            await asyncio.gather(stub.Retrieve(ASK, timeout=30), stub.Retrieve(ASK, timeout=30))
            assert len(healthy.requests) == before + 2
            assert 1 < time.monotonic() - began < 8
    finally:
        replica.kill()
        await replica.wait()


async def replica_has_answered(stub: RetrieverServiceAsyncStub, output: asyncio.StreamReader) -> None:
    answered = asyncio.create_task(output.readline())
    while not answered.done():
        await stub.Retrieve(ASK, timeout=5)
        await asyncio.sleep(0.01)
