"""What surrounds every RPC that is served: one span, one duration, one deadline, one way of exceptions into statuses.

The stock OpenTelemetry interceptors lose spans on cancel and leave errors unset (docs/decisions/0003).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.semconv._incubating.attributes import rpc_attributes as rpc

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
"""Statuses that are an error of a server span (OpenTelemetry's gRPC conventions)."""


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
            over = limit.is_over_for_caller(seconds)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if over else grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = _code_of(context)
            raise
        finally:
            self._num_running -= 1
            telemetry.end_rpc_span(span, code, is_fault=code in SERVER_FAULTS)
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
