"""Traces and logs of a process: set up once, flushed once."""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import Mapping

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.semconv._incubating.attributes import rpc_attributes as rpc
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from pythonjsonlogger.json import JsonFormatter

from chassis.config import ServerConfig

EXPORT_DELAY_MS = 1_000
"""Longest wait of a finished span before it is exported, milliseconds."""

NOISY_LOGGERS = ("httpx", "httpcore", "urllib3", "filelock", "sentence_transformers", "faiss.loader")


def configure_tracing(name: str, replica: str, config: ServerConfig) -> TracerProvider:
    """Make the global tracer of this process, exporting to `otlp_endpoint` where one is set.

    Without one, traces that begin here are not recorded (they have their ids all the same): nobody would see them.
    """
    ratio = config.trace_sample_ratio if config.otlp_endpoint else 0
    provider = TracerProvider(
        resource=Resource.create(
            {"service.namespace": "trivium", "service.name": name, "service.instance.id": replica}
        ),
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        shutdown_on_exit=False,
    )
    if config.otlp_endpoint:
        exporter = OTLPSpanExporter(
            endpoint=config.otlp_endpoint, insecure=config.otlp_endpoint.startswith("http://"), timeout=5
        )
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_DELAY_MS))
    trace.set_tracer_provider(provider)
    return provider


def configure_logging(name: str, level: str = "INFO") -> None:
    """One JSON object a line on standard error: `time`, `level`, `event`, `service`, `trace_id`, and fields."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EventFormatter(name))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in NOISY_LOGGERS:
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _EventFormatter(JsonFormatter):
    def __init__(self, name: str) -> None:
        super().__init__("%(message)s", rename_fields={"message": "event"}, static_fields={"service": name})

    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: Mapping[str, object]
    ) -> None:
        log_data["time"] = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat()
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        if trace_id := current_trace_id():
            log_data["trace_id"] = trace_id
        super().add_fields(log_data, record, dict(message_dict))


def end_rpc_span(span: trace.Span, code: grpc.StatusCode, is_fault: bool, at_ns: int | None = None) -> None:
    """End a span of either side with its status. Of a client span every status but OK is a fault."""
    span.set_attribute(rpc.RPC_RESPONSE_STATUS_CODE, code.name)
    if is_fault:
        span.set_attribute(ERROR_TYPE, code.name)
        span.set_status(trace.StatusCode.ERROR)
    span.end(at_ns)


def trace_id_of(span: trace.Span) -> str:
    """The span's trace id as 32 hexadecimal digits; empty when it has none."""
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def current_trace_id() -> str:
    """The trace id of the RPC that this task serves; empty outside one."""
    return trace_id_of(trace.get_current_span())
