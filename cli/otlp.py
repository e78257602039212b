"""An OTLP receiver in this process: the spans that others really exported, kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

Value = str | bool | int | float | list[Any] | None


@dataclass(frozen=True)
class Event:
    """Something that happened during a span."""

    name: str
    attributes: dict[str, Value]


@dataclass(frozen=True)
class Link:
    """A span that this one has to do with, without being its child."""

    trace_id: str
    span_id: str


@dataclass(frozen=True)
class Span:
    """A finished span. Ids are lower-case hexadecimal; `parent_span_id` is empty for a root."""

    service: str
    name: str
    kind: str
    """`SERVER`, `CLIENT`, `INTERNAL` …"""
    trace_id: str
    span_id: str
    parent_span_id: str
    start_ns: int
    end_ns: int
    status: str
    """`UNSET`, `OK` or `ERROR`."""
    status_text: str
    attributes: dict[str, Value]
    resource: dict[str, Value]
    """Attributes of the process: `service.name`, `service.instance.id` …"""
    events: list[Event]
    links: list[Link]

    @property
    def duration_ms(self) -> float:
        """From start to end, milliseconds."""
        return (self.end_ns - self.start_ns) / 1e6


class SpanReceiver:
    """Serves OTLP over gRPC on a free port inside a `with` block, and keeps what it is sent."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._arrived = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
        register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        register(_TraceService(self._keep), self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.endpoint = f"http://127.0.0.1:{port}"
        """For the processes' `OTLP_ENDPOINT`."""

    def __enter__(self) -> SpanReceiver:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=1).wait()

    def spans(self, trace_id: str | None = None) -> list[Span]:
        """The spans received so far, of one trace or of all, by start."""
        with self._arrived:
            kept = [span for span in self._spans if trace_id in (None, span.trace_id)]
        return sorted(kept, key=lambda span: span.start_ns)

    def wait_for(
        self, is_enough: Callable[[list[Span]], bool], trace_id: str | None = None, timeout_s: float = 10
    ) -> list[Span]:
        """The spans, once `is_enough` of them; raises TimeoutError naming what is there instead."""
        with self._arrived:
            if self._arrived.wait_for(lambda: is_enough(self.spans(trace_id)), timeout_s):
                return self.spans(trace_id)
        received = ", ".join(f"{span.service} {span.name}" for span in self.spans(trace_id))
        raise TimeoutError(f"not the expected spans within {timeout_s} s, only: {received or 'none'}")

    def _keep(self, spans: Iterable[Span]) -> None:
        with self._arrived:
            self._spans.extend(spans)
            self._arrived.notify_all()


class _TraceService(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, keep: Callable[[Iterable[Span]], None]) -> None:
        self._keep = keep

    def Export(  # noqa: N802 (the contract's name)
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self._keep(
            _span(one, _plain(resource.resource.attributes))
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for one in scope.spans
        )
        return trace_service_pb2.ExportTraceServiceResponse()


def _span(span: trace_pb2.Span, resource: dict[str, Value]) -> Span:
    return Span(
        service=str(resource.get("service.name", "")),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_text=span.status.message,
        attributes=_plain(span.attributes),
        resource=resource,
        events=[Event(event.name, _plain(event.attributes)) for event in span.events],
        links=[Link(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
    )


def _plain(attributes: Iterable[common_pb2.KeyValue]) -> dict[str, Value]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: common_pb2.AnyValue) -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    plain: Value = getattr(value, kind)
    return plain
