"""What the processes export is received as it was, and drawn as one tree."""

import io
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from rich.console import Console

from chassis import attributes
from cli.otlp import Span, SpanReceiver
from cli.trace_tree import trace_tree


@pytest.fixture
def receiver() -> Iterator[SpanReceiver]:
    with SpanReceiver() as receiver:
        yield receiver


def provider_of(service: str, receiver: SpanReceiver) -> TracerProvider:
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=receiver.endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=50))
    return provider


def export_question(receiver: SpanReceiver) -> str:
    """A gateway's span, a failed call below it, the reranker's span and a batch that links to that one."""
    gateway, reranker = provider_of("gateway", receiver), provider_of("reranker", receiver)
    tracer = gateway.get_tracer("test")
    root = tracer.start_span("Gateway/Answer", kind=trace.SpanKind.SERVER)
    root.add_event("degraded", {attributes.STEP: "rerank"})
    below = trace.set_span_in_context(root)
    call = tracer.start_span("Reranker/Rerank", below, trace.SpanKind.CLIENT)
    call.set_status(trace.StatusCode.ERROR, "too late")
    served = reranker.get_tracer("test").start_span(
        "Reranker/Rerank", trace.set_span_in_context(call), trace.SpanKind.SERVER
    )
    served.set_attributes({attributes.QUEUE_MS: 1.25, attributes.BATCH_SIZE: 4, "names": ["a", "b"]})
    batch = reranker.get_tracer("test").start_span("batch", links=[trace.Link(served.get_span_context())])
    for span in (batch, served, call, root):
        span.end()
    gateway.shutdown()
    reranker.shutdown()
    return trace.format_trace_id(root.get_span_context().trace_id)


def drawn(trace_id: str, spans: list[Span]) -> list[str]:
    console = Console(file=io.StringIO(), width=160)
    console.print(trace_tree(trace_id, spans))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_span_is_received_with_all_that_it_carried(receiver: SpanReceiver) -> None:
    trace_id = export_question(receiver)
    spans = {(span.service, span.name, span.kind): span for span in receiver.spans(trace_id)}
    root, call, served = (
        spans["gateway", "Gateway/Answer", "SERVER"],
        spans["gateway", "Reranker/Rerank", "CLIENT"],
        spans["reranker", "Reranker/Rerank", "SERVER"],
    )
    assert (root.parent_span_id, call.parent_span_id) == ("", root.span_id)
    assert served.parent_span_id == call.span_id
    assert (call.status, call.status_text) == ("ERROR", "too late")
    assert served.attributes == {attributes.QUEUE_MS: 1.25, attributes.BATCH_SIZE: 4, "names": ["a", "b"]}
    assert [(event.name, event.attributes) for event in root.events] == [("degraded", {attributes.STEP: "rerank"})]
    assert 0 < served.duration_ms < root.duration_ms
    (batch,) = (span for span in receiver.spans() if span.name == "batch")
    assert [(link.trace_id, link.span_id) for link in batch.links] == [(trace_id, served.span_id)]


def test_waiting_for_spans_that_do_not_come_names_those_that_did(receiver: SpanReceiver) -> None:
    trace_id = export_question(receiver)
    with pytest.raises(TimeoutError, match="only: gateway Gateway/Answer, gateway Reranker/Rerank"):
        receiver.wait_for(lambda spans: len(spans) > 3, trace_id, timeout_s=0.1)


def test_waiting_ends_when_the_spans_arrive(receiver: SpanReceiver) -> None:
    provider = provider_of("gateway", receiver)
    provider.get_tracer("test").start_span("late").end()
    assert [span.name for span in receiver.wait_for(lambda spans: bool(spans))] == ["late"]
    provider.shutdown()


def test_the_tree_follows_the_parents_and_shows_a_batch_below_its_member(receiver: SpanReceiver) -> None:
    trace_id = export_question(receiver)
    lines = drawn(trace_id, receiver.spans())
    assert lines[0] == f"trace {trace_id}"
    assert lines[1].startswith("└── gateway Gateway/Answer server")
    assert lines[1].endswith("! degraded rerank")
    assert lines[2].startswith("    └── gateway Reranker/Rerank client")
    assert "error too late" in lines[2]
    assert lines[3].startswith("        └── reranker Reranker/Rerank server")
    assert lines[3].endswith("· queue 1.2 ms · batch of 4")
    assert lines[4].startswith("            └── ⇢ reranker batch")
    assert len(lines) == 5


def test_a_span_whose_parent_is_missing_is_drawn_all_the_same(receiver: SpanReceiver) -> None:
    trace_id = export_question(receiver)
    orphans = [span for span in receiver.spans(trace_id) if span.kind != "CLIENT"]
    lines = drawn(trace_id, orphans)
    assert [line[:14] for line in lines[1:]] == ["├── gateway Ga", "└── reranker R"]
