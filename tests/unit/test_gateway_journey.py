"""What happened to a question, in its report and on its span."""

from __future__ import annotations

import grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.deadline import Deadline
from chassis.metrics import Metrics
from gateway.budget import Budget
from gateway.journey import Journey
from trivium.v1.gateway_pb2 import Report
from trivium.v1.passage_pb2 import StageStats
from trivium.v1.retriever_pb2 import Degradation, RetrieveResponse


def travelled() -> tuple[Report, ReadableSpan]:
    """The report and the span of a question that lost its dense leg and its reranker."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("question"):
        journey = Journey(Budget(Deadline.after(1), {"retriever": 1}), Metrics().degraded)
        journey.retrieved(
            RetrieveResponse(
                index_version=4,
                degraded=[Degradation.DEGRADATION_DENSE_SKIPPED],
                stats=StageStats(stage="retriever", queue_ms=2),
            )
        )
        journey.degrade(Degradation.DEGRADATION_RERANK_SKIPPED, grpc.StatusCode.UNAVAILABLE)
        report = journey.report()
    return report, exporter.get_finished_spans()[0]


def test_the_report_holds_all_that_happened() -> None:
    report, span = travelled()
    assert report.index_version == 4
    assert [(stats.stage, stats.queue_ms) for stats in report.stages] == [("retriever", 2)]
    assert list(report.degraded) == [
        Degradation.DEGRADATION_DENSE_SKIPPED,
        Degradation.DEGRADATION_RERANK_SKIPPED,
    ]
    assert span.context is not None
    assert report.trace_id == trace.format_trace_id(span.context.trace_id)


def test_every_step_left_out_is_an_event_of_the_span_with_its_cause() -> None:
    _, span = travelled()
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("trivium.degraded", {"trivium.step": "DEGRADATION_DENSE_SKIPPED", "rpc.response.status_code": "OK"}),
        (
            "trivium.degraded",
            {"trivium.step": "DEGRADATION_RERANK_SKIPPED", "rpc.response.status_code": "UNAVAILABLE"},
        ),
    ]


def test_every_step_left_out_is_counted() -> None:
    metrics = Metrics()
    for _ in range(2):
        journey = Journey(Budget(Deadline.after(1), {"retriever": 1}), metrics.degraded)
        journey.degrade(Degradation.DEGRADATION_RERANK_SKIPPED, grpc.StatusCode.UNAVAILABLE)
    assert metrics.registry.get_sample_value("trivium_degraded_total", {"step": "rerank_skipped"}) == 2
