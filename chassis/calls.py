"""Calls to other processes: one CLIENT span each, and its context on the wire.

gRPC's own client interceptors make a task and a wrapper of every call, which costs the gateway a seventh of its CPU
(docs/performance.md). A stub takes its callables from a channel; here they are given a span on the way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import grpc
from opentelemetry import propagate, trace
from opentelemetry.semconv._incubating.attributes import rpc_attributes as rpc

from chassis.telemetry import end_rpc_span

Metadata = tuple[tuple[str, str], ...]

tracer = trace.get_tracer("trivium")


def traced(channel: grpc.aio.Channel) -> grpc.aio.Channel:
    """What a generated stub takes for a channel: `SomeStub(traced(channel))`.

    Unary calls of such a stub are coroutines, streams are gRPC's own calls. Of timeout, metadata and the rest they
    take `timeout` only.
    """
    return cast(grpc.aio.Channel, _Traced(channel))


class _Traced:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel: Any = channel
        self._endings: set[asyncio.Task[None]] = set()

    def unary_unary(self, method: str, *given: Any, **options: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        start = self._channel.unary_unary(method, *given, **options)

        async def call(request: Any, timeout: float | None = None) -> Any:
            span, metadata = _begin(method)
            code = grpc.StatusCode.CANCELLED
            try:
                reply = await start(request, timeout=timeout, metadata=metadata)
                code = grpc.StatusCode.OK
                return reply
            except grpc.aio.AioRpcError as error:
                code = error.code()
                raise
            finally:
                end_rpc_span(span, code, is_fault=code is not grpc.StatusCode.OK)

        return call

    def unary_stream(self, method: str, *given: Any, **options: Any) -> Callable[..., Any]:
        start = self._channel.unary_stream(method, *given, **options)

        def call(request: Any, timeout: float | None = None) -> Any:
            span, metadata = _begin(method)
            running = start(request, timeout=timeout, metadata=metadata)
            running.add_done_callback(lambda done: self._end_soon(done, span))
            return running

        return call

    def __getattr__(self, shape: str) -> Any:
        """The other two shapes, which no stage has, as they are: a stub makes all of its callables at once."""
        return getattr(self._channel, shape)

    def _end_soon(self, call: Any, span: trace.Span) -> None:
        """`code()` of a call that is done returns at once, but only a task can ask for it."""
        ended = time.time_ns()

        async def end() -> None:
            code = await call.code()
            end_rpc_span(span, code, is_fault=code is not grpc.StatusCode.OK, at_ns=ended)

        task = asyncio.get_running_loop().create_task(end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


def _begin(method: str) -> tuple[trace.Span, Metadata]:
    name = method.lstrip("/")
    span = tracer.start_span(
        name, kind=trace.SpanKind.CLIENT, attributes={rpc.RPC_SYSTEM_NAME: "grpc", rpc.RPC_METHOD: name}
    )
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context=trace.set_span_in_context(span))
    return span, tuple(carrier.items())
