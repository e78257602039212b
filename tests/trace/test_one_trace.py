"""One question is one trace: one root, every process on its way, and nothing of what was asked or read."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable

import grpc
import pytest

from cli.otlp import Span
from tests.installation import Installation
from trivium.v1 import gateway_pb2

QUESTION = "What happens when the reranker is down?"

EXPECTED = [
    # service, kind, name, parent's (service, kind)
    ("gateway", "SERVER", "trivium.v1.GatewayService/Answer", None),
    ("gateway", "CLIENT", "trivium.v1.RetrieverService/Retrieve", ("gateway", "SERVER")),
    ("retriever", "SERVER", "trivium.v1.RetrieverService/Retrieve", ("gateway", "CLIENT")),
    ("gateway", "CLIENT", "trivium.v1.RerankerService/Rerank", ("gateway", "SERVER")),
    ("reranker", "SERVER", "trivium.v1.RerankerService/Rerank", ("gateway", "CLIENT")),
    ("gateway", "CLIENT", "trivium.v1.GeneratorService/Generate", ("gateway", "SERVER")),
    ("generator", "SERVER", "trivium.v1.GeneratorService/Generate", ("gateway", "CLIENT")),
]


def ask(
    trivium: Installation, question: str = QUESTION, timeout: float = 30, num_candidates: int = 30
) -> gateway_pb2.AnswerResponse:
    search = gateway_pb2.SearchOptions(num_candidates=num_candidates, top_k=min(5, num_candidates))
    request = gateway_pb2.AnswerRequest(question=question, search=search)
    reply: gateway_pb2.AnswerResponse = trivium.stub("gateway").Answer(request, timeout=timeout)
    return reply


def trace_of(trivium: Installation, trace_id: str, is_enough: Callable[[list[Span]], bool]) -> list[Span]:
    assert trivium.receiver is not None
    trivium.receiver.wait_for(is_enough, trace_id, timeout_s=20)
    time.sleep(1.5)  # one export period more: nothing else may come
    return trivium.receiver.spans(trace_id)


def test_a_question_is_one_trace_through_every_process(trivium: Installation) -> None:
    trace_id = ask(trivium).report.trace_id
    spans = trace_of(trivium, trace_id, lambda spans: len(spans) >= len(EXPECTED))
    by_id = {span.span_id: span for span in spans}

    def described(span: Span) -> tuple[str, str, str, tuple[str, str] | None]:
        parent = by_id.get(span.parent_span_id)
        return span.service, span.kind, span.name, (parent.service, parent.kind) if parent else None

    assert sorted(map(described, spans), key=str) == sorted(EXPECTED, key=str)
    assert [span.name for span in spans if not span.parent_span_id] == ["trivium.v1.GatewayService/Answer"]
    assert {span.attributes["rpc.response.status_code"] for span in spans} == {"OK"}
    for span in spans:
        if span.kind == "SERVER" and span.parent_span_id:
            parent = by_id[span.parent_span_id]
            assert parent.name == span.name
            assert parent.start_ns <= span.start_ns


def test_batches_are_linked_to_their_members(trivium: Installation) -> None:
    assert trivium.receiver is not None
    trace_id = ask(trivium).report.trace_id
    spans = trace_of(trivium, trace_id, lambda spans: len(spans) >= len(EXPECTED))
    for process in ("retriever", "reranker", "generator"):
        (member,) = [span for span in spans if (span.service, span.kind) == (process, "SERVER")]
        batches = [
            span
            for span in trivium.receiver.spans()
            if span.service == process and member.span_id in {link.span_id for link in span.links}
        ]
        assert batches, f"no batch of the {process} is linked to its member"
        assert all(not batch.parent_span_id for batch in batches)
        assert {link.trace_id for batch in batches for link in batch.links if link.span_id == member.span_id} == {
            trace_id
        }
        assert float(str(member.attributes["trivium.queue_ms"])) >= 0
        assert int(str(member.attributes["trivium.batch.size"])) >= 1


def test_an_error_is_one_span_a_side_and_names_its_trace(trivium: Installation) -> None:
    request = gateway_pb2.AnswerRequest(question=QUESTION, search=gateway_pb2.SearchOptions(collection="nowhere"))
    with pytest.raises(grpc.RpcError) as raised:
        trivium.stub("gateway").Answer(request, timeout=30)
    error: grpc.Call = raised.value  # type: ignore[assignment]
    assert error.code() is grpc.StatusCode.NOT_FOUND
    trace_id = str(dict(error.trailing_metadata())["trace_id"])
    spans = trace_of(trivium, trace_id, lambda spans: len(spans) >= 3)
    statuses = [(span.service, span.kind, span.attributes["rpc.response.status_code"]) for span in spans]
    assert sorted(statuses) == [
        ("gateway", "CLIENT", "NOT_FOUND"),
        ("gateway", "SERVER", "NOT_FOUND"),
        ("retriever", "SERVER", "NOT_FOUND"),
    ]


def test_a_deadline_that_passes_in_a_stage_is_one_span_a_side(trivium: Installation) -> None:
    (generator,) = trivium.processes.named("generator")
    ask(trivium)
    began_ns = time.time_ns()
    generator.send(signal.SIGSTOP)
    try:
        with pytest.raises(grpc.RpcError) as raised:
            ask(trivium, timeout=2, num_candidates=2)
    finally:
        generator.send(signal.SIGCONT)
    error: grpc.Call = raised.value  # type: ignore[assignment]
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert trivium.receiver is not None
    found = trivium.receiver.wait_for(lambda spans: bool(_roots(spans, began_ns)), timeout_s=20)
    (root,) = _roots(found, began_ns)
    spans = trace_of(trivium, root.trace_id, bool)
    status_by_side = {
        (span.name.rpartition("/")[2], span.kind): span.attributes["rpc.response.status_code"] for span in spans
    }
    assert len(status_by_side) == len(spans)
    # The gateway's own deadline is the call's: either may be the first to end it. The generator may never see it.
    cut_off = {status_by_side.pop(("Generate", "CLIENT")), status_by_side.pop(("Generate", "SERVER"), "CANCELLED")}
    assert cut_off <= {"CANCELLED", "DEADLINE_EXCEEDED"}
    assert status_by_side == {
        ("Answer", "SERVER"): "DEADLINE_EXCEEDED",
        ("Retrieve", "CLIENT"): "OK",
        ("Retrieve", "SERVER"): "OK",
        ("Rerank", "CLIENT"): "OK",
        ("Rerank", "SERVER"): "OK",
    }


def test_a_cancelled_question_is_cancelled_on_every_side(trivium: Installation) -> None:
    assert trivium.receiver is not None
    began_ns = time.time_ns()
    call = trivium.stub("gateway").Answer.future(gateway_pb2.AnswerRequest(question=QUESTION), timeout=30)
    timer = threading.Timer(0.15, call.cancel)
    timer.start()
    with contextlib.suppress(grpc.FutureCancelledError, grpc.RpcError):
        call.result()
    timer.join()
    assert call.cancelled(), "the answer came before it could be cancelled"
    found = trivium.receiver.wait_for(lambda spans: bool(_roots(spans, began_ns)), timeout_s=20)
    (root,) = _roots(found, began_ns)
    spans = trace_of(trivium, root.trace_id, bool)
    assert root.attributes["rpc.response.status_code"] == "CANCELLED"
    last_client = max((span for span in spans if span.kind == "CLIENT"), key=lambda span: span.start_ns)
    assert last_client.attributes["rpc.response.status_code"] == "CANCELLED"
    (server,) = [span for span in spans if span.parent_span_id == last_client.span_id]
    assert server.attributes["rpc.response.status_code"] == "CANCELLED"


def _roots(spans: list[Span], began_ns: int) -> list[Span]:
    return [
        span
        for span in spans
        if span.name == "trivium.v1.GatewayService/Answer" and span.start_ns >= began_ns and not span.parent_span_id
    ]


def test_no_text_of_question_or_passage_is_in_any_span_metric_or_log(trivium: Installation) -> None:
    assert trivium.receiver is not None
    secret = "plugh"  # in no page, and it does not make the question one that is refused for lack of evidence
    reply = ask(trivium, f"How is an index version published and rolled back, {secret}?")
    assert reply.quotes
    passage = reply.sources[0].passage.text[:60]
    spans = trace_of(trivium, reply.report.trace_id, lambda spans: len(spans) >= len(EXPECTED))
    metrics = "".join(_metrics(process.metrics_address) for process in trivium.processes.all)
    for name, text in [("spans", repr(trivium.receiver.spans())), ("metrics", metrics), ("logs", trivium.logs())]:
        assert secret not in text, name
        assert passage not in text, name
    assert spans


def _metrics(address: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        return str(reply.read().decode())
