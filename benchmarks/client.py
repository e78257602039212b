"""Calls over gRPC with requests that are bytes already: the client costs as little as it can."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

Call = Callable[[bytes], Awaitable[bytes]]
TIMEOUT_S = 30.0


class Client:
    """One method of one server."""

    def __init__(self, address: str, method: str, timeout_s: float = TIMEOUT_S) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._call: Any = self._channel.unary_unary(method)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Client:
        await asyncio.wait_for(self._channel.channel_ready(), TIMEOUT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, request: bytes) -> bytes:
        """The reply. Raises AioRpcError."""
        reply: bytes = await self._call(request, timeout=self._timeout_s)
        return reply


@dataclass
class Load:
    """What became of an open loop."""

    ended_at: list[float] = field(default_factory=list)
    """When answers came, `time.perf_counter()`."""
    count_by_code: Counter[str] = field(default_factory=Counter)

    def rate(self, begin: float, end: float) -> float:
        """Answers a second between two points in time."""
        return sum(begin <= at < end for at in self.ended_at) / (end - begin)


async def one_by_one(call: Call, requests: Sequence[bytes]) -> list[float]:
    """Milliseconds of each call, with one in flight."""
    times = []
    for request in requests:
        began = time.perf_counter()
        await call(request)
        times.append((time.perf_counter() - began) * 1e3)
    return times


async def in_flight(call: Call, requests: Sequence[bytes], count: int) -> float:
    """Seconds until all are answered, with `count` on their way at any time."""
    waiting = iter(requests)

    async def caller() -> None:
        for request in waiting:
            await call(request)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(count)))
    return time.perf_counter() - began


async def open_loop(call: Call, requests: Sequence[bytes], rate: float, seconds: float) -> Load:
    """Send `rate` a second, whatever comes back, for so long; then wait for what is on its way."""
    load, tasks = Load(), set()

    async def one(request: bytes) -> None:
        try:
            await call(request)
        except grpc.aio.AioRpcError as error:
            load.count_by_code[error.code().name] += 1
        else:
            load.count_by_code["OK"] += 1
            load.ended_at.append(time.perf_counter())

    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while sent < now * rate:
            tasks.add(asyncio.create_task(one(requests[sent % len(requests)])))
            sent += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    return load
