"""What `trivium doctor` finds in answers: which replicas gave them, and what they carry."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest

from cli.checks.check import Finding, Status
from cli.checks.places import Place
from cli.checks.question import examine_question
from cli.checks.replicas import chance_of_a_miss, examine_replicas
from tests.unit.doctor import PLAIN, failure_of, found_by, reranker_at, serving
from trivium.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    generator_pb2,
    passage_pb2,
    reranker_pb2,
    reranker_pb2_grpc,
    retriever_pb2,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class ScriptedReranker(reranker_pb2_grpc.RerankerServiceServicer):
    """Says who it is."""

    def __init__(self, replica: str) -> None:
        self.replica = replica

    def Rerank(self, request: reranker_pb2.RerankRequest, context: Any) -> reranker_pb2.RerankResponse:
        return reranker_pb2.RerankResponse(stats=passage_pb2.StageStats(stage="reranker", replica=self.replica))


def reranker(replica: str) -> Callable[[grpc.Server], object]:
    add: Any = reranker_pb2_grpc.add_RerankerServiceServicer_to_server
    return lambda server: add(ScriptedReranker(replica), server)


def good_answer() -> gateway_pb2.AnswerResponse:
    text = "On SIGTERM a process drains."
    passage = passage_pb2.Passage(passage_id="a#0", document_id="a", uri="file:///docs/operations.md", text=text)
    return gateway_pb2.AnswerResponse(
        text=f"{text} [1]",
        sources=[gateway_pb2.Source(number=1, passage=passage)],
        quotes=[generator_pb2.Quote(passage_id="a#0", text=text)],
        reason=generator_pb2.FINISH_REASON_STOP,
        kind=generator_pb2.ANSWER_KIND_EXTRACTIVE,
        report=gateway_pb2.Report(
            trace_id=TRACE_ID,
            stages=[passage_pb2.StageStats(stage=one, replica=f"{one}-0") for one in ("retriever", "reranker")]
            + [passage_pb2.StageStats(stage="generator", replica="generator-0")],
        ),
    )


class ScriptedGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Gives one answer; its searches are reranked by the replicas in turn."""

    def __init__(self, answer: gateway_pb2.AnswerResponse, replicas: list[str], trace_id: str = TRACE_ID) -> None:
        self._answer, self._replicas, self._trace_id = answer, replicas, trace_id

    def Answer(self, request: Any, context: Any) -> gateway_pb2.AnswerResponse:
        context.set_trailing_metadata((("trace_id", self._trace_id),))
        return self._answer

    def Explain(self, request: Any, context: Any) -> gateway_pb2.ExplainResponse:
        raise NotImplementedError

    def Search(self, request: Any, context: Any) -> gateway_pb2.SearchResponse:
        self._replicas.append(self._replicas.pop(0))
        stage = passage_pb2.StageStats(stage="reranker", replica=self._replicas[-1])
        return gateway_pb2.SearchResponse(report=gateway_pb2.Report(stages=[stage]))

    def AnswerStream(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@contextmanager
def gateway(
    answer: gateway_pb2.AnswerResponse | None = None, *replicas: str, trace_id: str = TRACE_ID
) -> Iterator[Place]:
    add: Any = gateway_pb2_grpc.add_GatewayServiceServicer_to_server
    servicer = ScriptedGateway(answer or good_answer(), list(replicas), trace_id)
    with serving(service="trivium.v1.GatewayService", register=lambda server: add(servicer, server)) as address:
        yield Place("gateway", address, "--gateway")


@contextmanager
def two_rerankers() -> Iterator[Place]:
    with ExitStack() as stack:
        addresses = [stack.enter_context(serving(register=reranker(name))) for name in ("one:7003", "two:7003")]
        yield reranker_at(f"ipv4:{','.join(addresses)}")


def test_replicas_that_all_answer_are_fine() -> None:
    with two_rerankers() as rerankers, gateway(None, "one:7003", "two:7003") as front:
        found = found_by(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    assert found == [(Status.OK, "2 of 2 answered the gateway's calls: one:7003 2, two:7003 2")]


def test_a_replica_that_the_gateway_never_calls_is_a_failure() -> None:
    with two_rerankers() as rerankers, gateway(None, "one:7003") as front:
        failed = failure_of(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    second = rerankers.target.partition(",")[2]
    assert failed.text == f"never called by the gateway: two:7003 at {second} (calls answered by: one:7003 40)"


def test_too_few_calls_prove_no_replica_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.checks.replicas.ASKING_S", 0)
    with two_rerankers() as rerankers, gateway(None, "one:7003") as front:
        [(status, text)] = found_by(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    assert status is Status.WARNING
    assert text.startswith("not yet called by the gateway: two:7003 at ")


@pytest.mark.parametrize(("num_replicas", "num_calls", "chance"), [(1, 1, 0), (2, 7, 2 / 2**7), (100, 2_000, 1.9e-7)])
def test_the_chance_that_random_calls_miss_a_replica_is_known(num_replicas: int, num_calls: int, chance: float) -> None:
    assert chance_of_a_miss(num_replicas, num_calls) == pytest.approx(chance, rel=0.05)


def test_a_replica_that_nobody_named_is_a_warning() -> None:
    with two_rerankers() as rerankers, gateway(None, "one:7003", "two:7003", "three:7003") as front:
        warning, fine = found_by(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    assert (warning[0], fine[0]) == (Status.WARNING, Status.OK)
    assert "also answered by three:7003" in warning[1]


def asked(front: Place, expected: str = "") -> Callable[[], Iterator[Finding]]:
    return lambda: examine_question(front, "What happens on SIGTERM?", expected, "default", PLAIN.timeout_s, PLAIN)


def test_a_good_answer_is_fine_in_every_respect() -> None:
    with gateway() as front:
        found = found_by(asked(front, "operations.md"))
    assert {status for status, _ in found} == {Status.OK}
    assert [text for _, text in found][1:] == [
        "cites file:///docs/operations.md",
        f"trace {TRACE_ID}",
        "retriever retriever-0 → reranker reranker-0 → generator generator-0",
    ]


def test_an_abstention_is_an_answer() -> None:
    answer = good_answer()
    answer.reason, answer.text = generator_pb2.FINISH_REASON_ABSTAINED, ""
    answer.kind = generator_pb2.ANSWER_KIND_UNSPECIFIED
    del answer.quotes[:], answer.report.stages[2:]
    with gateway(answer) as front:
        found = found_by(asked(front))
    assert {status for status, _ in found} == {Status.OK}
    assert "abstained" in found[0][1]


def empty(answer: gateway_pb2.AnswerResponse) -> None:
    answer.text = " "


def uncited(answer: gateway_pb2.AnswerResponse) -> None:
    answer.text = "On SIGTERM a process drains."
    del answer.quotes[:]


def degraded(answer: gateway_pb2.AnswerResponse) -> None:
    answer.report.degraded.append(retriever_pb2.DEGRADATION_RERANK_SKIPPED)


def silent_stage(answer: gateway_pb2.AnswerResponse) -> None:
    del answer.report.stages[1]


def other_trace(answer: gateway_pb2.AnswerResponse) -> None:
    answer.report.trace_id = "0" * 32


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (empty, "the answer is empty (STOP)"),
        (uncited, "no passage is cited"),
        (degraded, "degraded: DEGRADATION_RERANK_SKIPPED"),
        (silent_stage, "no word from the reranker"),
        (other_trace, f"the answer reports trace '{'0' * 32}', its trailing metadata {TRACE_ID}"),
    ],
)
def test_what_an_answer_lacks_is_a_failure(spoil: Callable[[gateway_pb2.AnswerResponse], None], text: str) -> None:
    answer = good_answer()
    spoil(answer)
    with gateway(answer) as front:
        assert failure_of(asked(front)).text == text


def test_an_answer_without_a_trace_id_is_a_failure() -> None:
    with gateway(trace_id="abc") as front:
        assert failure_of(asked(front)).text == "the trailing metadata's trace id is 'abc'"


def test_another_source_than_the_expected_one_is_a_failure() -> None:
    with gateway() as front:
        failed = failure_of(asked(front, "README.md"))
    assert failed.text == "'README.md' is not cited, but file:///docs/operations.md"
