"""What surrounds every RPC: one span a side, one duration, one deadline, one place where exceptions become statuses.

The stock OpenTelemetry interceptors lose spans on cancel and leave errors unset (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.semconv._incubating.attributes import rpc_attributes as rpc
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE

from chassis import attributes, deadline, telemetry
from chassis.deadline import Deadline
from chassis.errors import (
    INTERNAL_TEXT,
    DeadlinePassed,
    Overloaded,
    TriviumError,
    Unavailable,
    rich_status,
)
from chassis.handlers import Context, Handler, surround
from chassis.metrics import Metrics

logger = logging.getLogger(__name__)
tracer = trace.get_tracer("trivium")

TRACE_ID_KEY = "trace_id"
"""Trailing metadata of every reply."""

UNOBSERVED = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Probes and tools: no spans, no metrics."""

TOO_MANY_RETRY_S = 1.0
"""What a caller is told to wait when too many calls run at once, seconds."""

SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses that are an error of a server span (OpenTelemetry's gRPC conventions); of a client span, all but OK."""


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Gives every RPC its span, its metrics, its deadline and its status."""

    def __init__(
        self, metrics: Metrics, default_deadline_s: float, max_deadline_s: float, max_concurrent_calls: int = 2_048
    ) -> None:
        self._metrics = metrics
        self._default_deadline_s = default_deadline_s
        self._max_deadline_s = max_deadline_s
        self._max_concurrent_calls = max_concurrent_calls
        self._num_running = 0
        self.ready = False
        """False until the process can serve: calls are UNAVAILABLE."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(UNOBSERVED):
            return handler
        metadata = {
            key: value for key, value in handler_call_details.invocation_metadata or () if isinstance(value, str)
        }
        return surround(handler, lambda context: self._serve(method.lstrip("/"), metadata, context))

    @contextlib.asynccontextmanager
    async def _serve(self, method: str, metadata: dict[str, str], context: Context) -> AsyncIterator[None]:
        span = tracer.start_span(
            method,
            context=propagate.extract(metadata),
            kind=trace.SpanKind.SERVER,
            attributes={rpc.RPC_SYSTEM_NAME: "grpc", rpc.RPC_METHOD: method},
        )
        # Every RPC runs in a task of its own: what is attached to its context needs no detaching.
        otel_context.attach(trace.set_span_in_context(span))
        context.set_trailing_metadata(((TRACE_ID_KEY, telemetry.trace_id_of(span)),))
        began = time.perf_counter()
        given_s = context.time_remaining()
        seconds = min(self._default_deadline_s if given_s is None else given_s, self._max_deadline_s)
        limit = Deadline.after(seconds)
        deadline.enter(limit)
        span.set_attribute(attributes.DEADLINE_MS, seconds * 1e3)
        code = grpc.StatusCode.INTERNAL
        self._num_running += 1
        try:
            # The core itself ends a call whose own deadline passes.
            async with self._answered(context, limit_s=None if seconds == given_s else seconds):
                yield
            code = grpc.StatusCode.OK
        except (GeneratorExit, asyncio.CancelledError):
            # gRPC rounds a deadline up by as much as 1 % on the wire: the caller may give up that much earlier.
            over = limit.remaining_s() <= 0.01 * seconds + 0.005
            code = grpc.StatusCode.DEADLINE_EXCEEDED if over else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _code_of(context)
            raise
        finally:
            self._num_running -= 1
            _end(span, code, is_fault=code in SERVER_FAULTS)
            trace_id = telemetry.trace_id_of(span)
            self._metrics.request_duration.labels(method=method, code=code.name).observe(
                time.perf_counter() - began, exemplar={"trace_id": trace_id}
            )

    @contextlib.asynccontextmanager
    async def _answered(self, context: Context, limit_s: float | None) -> AsyncIterator[None]:
        """What happens inside becomes a status, whatever it is."""
        try:
            if not self.ready:
                raise Unavailable("STARTING", "this process is starting")
            if self._num_running > self._max_concurrent_calls:
                raise Overloaded("too many calls at once", retry_after_s=TOO_MANY_RETRY_S)
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError:
            await _abort(context, DeadlinePassed())
        except TriviumError as error:
            await _abort(context, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this RPC was cancelled but something it waited for. Let out, it would leave the caller hanging.
            logger.exception("stray cancellation")
            await _abort(context, TriviumError(INTERNAL_TEXT))
        except (GeneratorExit, grpc.aio.AbortError):
            raise
        except Exception:
            logger.exception("internal error")
            await _abort(context, TriviumError(INTERNAL_TEXT))


async def _abort(context: Context, error: TriviumError) -> None:
    text = str(error)
    details = rich_status(error.code, text, error.details())
    trailing_metadata = (("grpc-status-details-bin", details), (TRACE_ID_KEY, telemetry.current_trace_id()))
    try:
        await context.abort(error.code, text, trailing_metadata)
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError:  # the call is over, nobody is there to tell
        raise asyncio.CancelledError from None


def _code_of(context: Context) -> grpc.StatusCode:
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((known for known in grpc.StatusCode if known.value[0] == code), grpc.StatusCode.UNKNOWN)


def _end(span: trace.Span, code: grpc.StatusCode, is_fault: bool, at_ns: int | None = None) -> None:
    span.set_attribute(rpc.RPC_RESPONSE_STATUS_CODE, code.name)
    if is_fault:
        span.set_attribute(ERROR_TYPE, code.name)
        span.set_status(trace.StatusCode.ERROR)
    span.end(at_ns)


class _ClientSpans:
    """Starts a span for each call and ends it when the call is done, whatever its outcome."""

    def __init__(self) -> None:
        self._endings: set[asyncio.Task[None]] = set()

    async def _observe(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        raw_method: Any = details.method
        method = (raw_method.decode() if isinstance(raw_method, bytes) else raw_method).lstrip("/")
        span = tracer.start_span(
            method,
            kind=trace.SpanKind.CLIENT,
            attributes={rpc.RPC_SYSTEM_NAME: "grpc", rpc.RPC_METHOD: method},
        )
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(span))
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *carrier.items())
        details = grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        try:
            call = await continuation(details, request)
        except BaseException:
            _end(span, grpc.StatusCode.CANCELLED, is_fault=True)
            raise
        call.add_done_callback(lambda done: self._end_soon(done, span))
        return call

    def _end_soon(self, call: Any, span: trace.Span) -> None:
        """`code()` of a call that is done returns at once, but only a task can ask for it."""
        ended = time.time_ns()

        async def end() -> None:
            code = await call.code()
            _end(span, code, is_fault=code is not grpc.StatusCode.OK, at_ns=ended)

        task = asyncio.get_running_loop().create_task(end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


class _UnaryUnarySpans(_ClientSpans, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._observe(continuation, client_call_details, request)


class _UnaryStreamSpans(_ClientSpans, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._observe(continuation, client_call_details, request)


def client_interceptors() -> Sequence[grpc.aio.ClientInterceptor]:
    """For `grpc.aio.insecure_channel(..., interceptors=...)`: one CLIENT span a call, its context on the wire."""
    return [_UnaryUnarySpans(), _UnaryStreamSpans()]
