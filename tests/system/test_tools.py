"""What users call Trivium with works as it is: grpcurl, ghz, a plain stub."""

import json
import subprocess

import pytest

from tests.installation import GO_TOOLS, Installation, grpcurl
from trivium.v1 import gateway_pb2

TEXT = "What happens when the reranker is down?"
QUESTION = {"question": TEXT}


def objects(text: str) -> list[dict[str, object]]:
    """The JSON objects that grpcurl printed one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        found.append(value)
    return found


def test_grpcurl_lists_every_service_by_reflection(trivium: Installation) -> None:
    for process, service in [
        ("gateway", "GatewayService"),
        ("retriever", "RetrieverService"),
        ("indexer", "IndexerService"),
        ("reranker", "RerankerService"),
        ("generator", "GeneratorService"),
    ]:
        listed = grpcurl(trivium.address(process), "list").stdout.split()
        assert {f"trivium.v1.{service}", "grpc.health.v1.Health"} <= set(listed)


def test_grpcurl_calls_answer(trivium: Installation) -> None:
    called = grpcurl(trivium.address("gateway"), "trivium.v1.GatewayService/Answer", data=QUESTION)
    assert called.returncode == 0, called.stderr
    reply = json.loads(called.stdout)
    assert reply["kind"] == "ANSWER_KIND_EXTRACTIVE"
    assert any(source["passage"]["document_id"].endswith("operations.md") for source in reply["sources"])
    assert {stage["stage"] for stage in reply["report"]["stages"]} == {"retriever", "reranker", "generator"}


def test_grpcurl_calls_answer_stream(trivium: Installation) -> None:
    called = grpcurl(trivium.address("gateway"), "trivium.v1.GatewayService/AnswerStream", data=QUESTION)
    assert called.returncode == 0, called.stderr
    kinds = [next(iter(event)) for event in objects(called.stdout)]
    assert kinds[0] == "sources"
    assert kinds[-1] == "finished"
    assert set(kinds[1:-1]) == {"delta"}


@pytest.mark.slow
def test_ghz_runs_200_answers_without_an_error(trivium: Installation) -> None:
    call = ["--insecure", "--call", "trivium.v1.GatewayService/Answer", "-n", "200", "-c", "4", "-t", "60s"]
    few_candidates = {"question": TEXT, "search": {"num_candidates": 5}}
    ran = subprocess.run(
        [GO_TOOLS / "ghz", *call, "-d", json.dumps(few_candidates), "-O", "json", trivium.address("gateway")],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    report = json.loads(ran.stdout)
    assert report["statusCodeDistribution"] == {"OK": 200}


def test_a_call_without_a_deadline_gets_the_default_one(trivium: Installation) -> None:
    report = trivium.stub("gateway").Answer(gateway_pb2.AnswerRequest(question=TEXT)).report
    assert 9_900 < report.deadline_ms <= 10_000


def test_the_unary_and_the_streamed_answer_are_the_same(trivium: Installation) -> None:
    gateway = trivium.stub("gateway")
    whole = gateway.Answer(gateway_pb2.AnswerRequest(question=TEXT), timeout=30)
    events = list(gateway.AnswerStream(gateway_pb2.AnswerStreamRequest(question=TEXT), timeout=30))
    assert "".join(event.delta.text for event in events) == whole.text != ""
    assert [source.passage for source in events[0].sources.sources] == [source.passage for source in whole.sources]


def test_quotes_are_byte_exact_slices_of_their_passages(trivium: Installation) -> None:
    reply = trivium.stub("gateway").Answer(gateway_pb2.AnswerRequest(question=TEXT), timeout=30)
    passages = {source.passage.passage_id: source.passage for source in reply.sources}
    assert reply.quotes
    for quote in reply.quotes:
        passage = passages[quote.passage_id]
        start, end = (edge - passage.range.start for edge in (quote.range.start, quote.range.end))
        assert passage.text[start:end] == quote.text


def test_every_score_says_where_it_comes_from(trivium: Installation) -> None:
    found = trivium.stub("gateway").Search(gateway_pb2.SearchRequest(question=TEXT), timeout=30)
    assert found.sources
    for source in found.sources:
        scores = source.scores
        assert scores.HasField("fused_score")
        assert scores.HasField("rerank_logit")
        assert scores.HasField("dense_score") == scores.HasField("dense_rank")
        assert scores.HasField("bm25_score") == scores.HasField("bm25_rank")
        assert scores.HasField("dense_score") or scores.HasField("bm25_score")
