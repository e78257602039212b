"""Two answers about a process: may it be given calls (readiness), and is it worth keeping (liveness).

Readiness is told on the main port, to clients' load balancing, and on the health port, to probes. The health port is
a plain gRPC server on threads of its own: it answers while the event loop is busy importing, loading or draining.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis.config import ConfigError

logger = logging.getLogger(__name__)

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING

LIVENESS = "liveness"
"""The service name under which the health port tells whether the process should be kept."""

CLOCK_KEY = "unix_time_ms"
"""Trailing metadata of a health check on the main port: what this machine takes for now. `trivium doctor` compares."""

LIVENESS_LIMIT_S = 60.0
"""Seconds for which the event loop of a process that serves may stand still before it is given up."""


class LoopWatch:
    """Whether an event loop still moves. Only a process that serves is watched: loading and draining may block."""

    def __init__(self, limit_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = LIVENESS_LIMIT_S if limit_s is None else limit_s
        self._clock = clock
        self._moved_at: float | None = None

    def begin(self) -> None:
        """From now on `beat` is to be called again and again."""
        self._moved_at = self._clock()

    def beat(self) -> None:
        """The loop moved."""
        if self._moved_at is not None:
            self.begin()

    def end(self) -> None:
        """From now on it may stand still."""
        self._moved_at = None

    @property
    def is_stuck(self) -> bool:
        """True once it has stood still for longer than the limit. Asked from any thread."""
        moved_at = self._moved_at
        return moved_at is not None and self._clock() - moved_at > self._limit_s


class HealthPort:
    """Health for probes. Service `""` and the process's own are readiness; `liveness` is SERVING unless `watch`
    says that the loop is stuck."""

    def __init__(self, watch: LoopWatch) -> None:
        self._servicer = _ProbeServicer(watch)
        # 0 for SO_REUSEPORT: else a second process would bind the same port and take half of the probes.
        self._server = grpc.server(
            ThreadPoolExecutor(2, thread_name_prefix="health"), options=[("grpc.so_reuseport", 0)]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)

    def start(self, address: str) -> int:
        """Answer at `host:port`, not ready yet. Returns the port. Raises ConfigError when it cannot be bound."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(f"health_address {address}: cannot be bound ({error})") from None
        self._server.start()
        return port

    def set(self, service_name: str, status: Any) -> None:
        """What readiness probes and watches of `service_name` are told from now on."""
        self._servicer.set(service_name, status)

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.stop(0).wait()


class _ProbeServicer(health.HealthServicer):
    """Liveness is looked up when it is checked; a watch of it hears of a change at the next check."""

    def __init__(self, watch: LoopWatch) -> None:
        super().__init__()
        self._watch = watch
        self._was_stuck = False
        self.set("", NOT_SERVING)
        self.set(LIVENESS, SERVING)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (the contract's name)
        if request.service == LIVENESS:
            self._look()
        return super().Check(request, context)

    def _look(self) -> None:
        is_stuck = self._watch.is_stuck
        if is_stuck and not self._was_stuck:
            logger.error("event loop stuck", extra={"where": _main_stack()})
        if is_stuck != self._was_stuck:
            self._was_stuck = is_stuck
            self.set(LIVENESS, NOT_SERVING if is_stuck else SERVING)


class Health(health.aio.HealthServicer):
    """The main port's health. Its Watch streams can be ended: an open one would hold the drain for its whole grace."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = asyncio.Event()

    def end_watches(self) -> None:
        """End every Watch stream, also those to come."""
        self._ended.set()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (the contract's name)
        context.set_trailing_metadata(((CLOCK_KEY, str(time.time_ns() // 1_000_000)),))
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 (the contract's name)
        tasks = [asyncio.create_task(super().Watch(request, context)), asyncio.create_task(self._ended.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _main_stack() -> list[str]:
    """Where the main thread is now, innermost call last: `file:line function`."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_stack(frame)[-8:]] if frame else []
