"""The gateway's channels to the stages, replaced as its certificate is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from chassis.calls import traced
from chassis.tls import Identity, IdentityFiles, channel_credentials
from gateway.channel import open_channel
from gateway.config import GatewayConfig
from trivium.v1.generator_pb2_grpc import GeneratorServiceStub
from trivium.v1.reranker_pb2_grpc import RerankerServiceStub
from trivium.v1.retriever_pb2_grpc import RetrieverServiceStub

if TYPE_CHECKING:
    from trivium.v1.generator_pb2_grpc import GeneratorServiceAsyncStub
    from trivium.v1.reranker_pb2_grpc import RerankerServiceAsyncStub
    from trivium.v1.retriever_pb2_grpc import RetrieverServiceAsyncStub

ROTATION_INTERVAL_S = 10.0
"""Seconds between two looks at the certificate's files."""

CONNECT_S = 5.0
"""Longest wait for new channels to connect before calls go to them."""


@dataclass(frozen=True)
class _Channels:
    retriever: grpc.aio.Channel
    reranker: grpc.aio.Channel
    generator: grpc.aio.Channel

    def all(self) -> list[grpc.aio.Channel]:
        return [self.retriever, self.reranker, self.generator]


class Connections:
    """A stub for each stage. Take it anew for each call: behind it the channel may have been replaced."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._files = IdentityFiles.of(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_channels: list[_Channels] = []
        self._use(self._open(self._files.read() if self._files else None))

    def start(self) -> None:
        """Follow the certificate's files, if there are any, from now on."""
        if self._files:
            self._begin(self._follow(self._files))

    async def close(self) -> None:
        """Close the channels. Calls still running are cancelled."""
        for task in self._tasks:
            task.cancel()
        for channels in list(self._open_channels):
            await self._close(channels)

    async def _follow(self, files: IdentityFiles) -> None:
        while True:
            await asyncio.sleep(ROTATION_INTERVAL_S)
            if identity := files.read_if_changed():
                channels = self._open(identity)
                await _connect(channels)
                self._begin(self._retire(self._channels))
                self._use(channels)

    async def _retire(self, channels: _Channels) -> None:
        """Close them once every call that may have begun on them is past its deadline."""
        await asyncio.sleep(self._config.max_deadline_s + 1)
        await self._close(channels)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _use(self, channels: _Channels) -> None:
        self._channels = channels
        self.retriever: RetrieverServiceAsyncStub = RetrieverServiceStub(traced(channels.retriever))
        self.reranker: RerankerServiceAsyncStub = RerankerServiceStub(traced(channels.reranker))
        self.generator: GeneratorServiceAsyncStub = GeneratorServiceStub(traced(channels.generator))

    def _open(self, identity: Identity | None) -> _Channels:
        config = self._config
        credentials = None if identity is None else channel_credentials(identity)

        def channel(target: str, service: str) -> grpc.aio.Channel:
            name, size = f"trivium.v1.{service}", config.max_message_bytes
            return open_channel(target, name, size, credentials, config.dns_interval_s)

        channels = _Channels(
            retriever=channel(config.retriever_address, "RetrieverService"),
            reranker=channel(config.reranker_address, "RerankerService"),
            generator=channel(config.generator_address, "GeneratorService"),
        )
        self._open_channels.append(channels)
        return channels

    async def _close(self, channels: _Channels) -> None:
        for channel in channels.all():
            await channel.close()
        self._open_channels.remove(channels)


async def _connect(channels: _Channels) -> None:
    """Return once all are connected, or after CONNECT_S: a stage may be down."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels.all()))
