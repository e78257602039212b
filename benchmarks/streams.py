"""Calls whose replies are streams, and when their first and last messages came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.client import TIMEOUT_S


@dataclass(frozen=True)
class Streamed:
    """The end of a stream, and the seconds from the time at which its request was due."""

    to_first_s: float
    to_last_s: float
    last: bytes


class Streams:
    """One method of one server. Requests are bytes already."""

    def __init__(self, address: str, method: str, timeout_s: float) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._call: Any = self._channel.unary_stream(method)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Streams:
        await asyncio.wait_for(self._channel.channel_ready(), TIMEOUT_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call_all(self, requests: Sequence[bytes], due_s: Sequence[float]) -> list[Streamed]:
        """What came of each, in their order. `due_s` are seconds from now. Raises AioRpcError: one was not answered."""
        began = time.perf_counter()
        calls = (self._call_at(request, began + due) for request, due in zip(requests, due_s, strict=True))
        return await asyncio.gather(*calls)

    async def _call_at(self, request: bytes, due: float) -> Streamed:
        await asyncio.sleep(due - time.perf_counter())
        to_first_s = None
        async for message in self._call(request, timeout=self._timeout_s):
            to_first_s = to_first_s or time.perf_counter() - due
            last = message
        assert to_first_s is not None, "a stream without a message"
        return Streamed(to_first_s, time.perf_counter() - due, last)
