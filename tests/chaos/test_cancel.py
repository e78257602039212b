"""A question whose caller left frees its place, and one whose time is over is never computed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tests.installation import Installation, metric
from tests.waiting import wait_until
from trivium.v1 import gateway_pb2, generator_pb2, passage_pb2, reranker_pb2, retriever_pb2

pytestmark = [pytest.mark.chaos]

LONG = "What becomes of a question that waits behind many others in the queue of a device? " * 12
QUESTION = "What happens when the reranker is down?"


def retrieve(trivium: Installation, number: int) -> Any:
    request = retriever_pb2.RetrieveRequest(question=f"{number} {LONG}", mode=retriever_pb2.RETRIEVAL_MODE_DENSE)
    return trivium.stub("retriever").Retrieve.future(request, timeout=60)


def rerank(trivium: Installation, number: int) -> Any:
    candidates = [reranker_pb2.RerankCandidate(passage_id=str(one), text=f"{number} {one} {LONG}") for one in range(40)]
    return trivium.stub("reranker").Rerank.future(
        reranker_pb2.RerankRequest(question=QUESTION, candidates=candidates), timeout=60
    )


def generate(trivium: Installation, number: int) -> Any:
    passages = [passage_pb2.Passage(passage_id=str(one), text=f"{number} {one} {LONG}") for one in range(20)]
    return trivium.stub("generator").Generate(
        generator_pb2.GenerateRequest(question=QUESTION, passages=passages), timeout=60
    )


@pytest.mark.parametrize(
    ("stage", "begin", "calls"),
    [("retriever", retrieve, 400), ("reranker", rerank, 12), ("generator", generate, 40)],
    ids=["retriever", "reranker", "generator"],
)
def test_a_cancelled_call_frees_its_place_in_the_queue(
    trivium: Installation, stage: str, begin: Callable[[Installation, int], Any], calls: int
) -> None:
    (process,) = trivium.processes.named(stage)

    def read(name: str, **labels: str) -> float:
        return metric(process.metrics_address, name, **labels)

    dropped = read("trivium_queue_dropped_total", reason="cancelled")
    begun = [begin(trivium, number) for number in range(calls)]
    wait_until(lambda: read("trivium_queue_depth") >= 5)
    for call in begun:
        call.cancel()
    cancelled_at = time.monotonic()
    wait_until(lambda: read("trivium_queue_depth") == 0)
    assert time.monotonic() - cancelled_at < 5
    assert read("trivium_queue_dropped_total", reason="cancelled") - dropped >= 5
    reply = trivium.stub("gateway").Answer(gateway_pb2.AnswerRequest(question=QUESTION), timeout=30)
    assert not reply.report.degraded


def test_a_cancelled_question_frees_its_places_in_the_stage_that_it_waits_for(trivium: Installation) -> None:
    (reranker,) = trivium.processes.named("reranker")

    def depth() -> float:
        return metric(reranker.metrics_address, "trivium_queue_depth")

    blockers = [rerank(trivium, number) for number in range(6)]  # less than the device can do in their time
    wait_until(lambda: depth() >= 100)
    waiting = depth()
    request = gateway_pb2.AnswerRequest(question=QUESTION)
    questions = [trivium.stub("gateway").Answer.future(request, timeout=60) for _ in range(10)]
    wait_until(lambda: depth() >= waiting + 30)
    for question in questions:
        question.cancel()
    wait_until(lambda: depth() < waiting)
    assert not any(blocker.done() for blocker in blockers[3:]), "the queue ran empty by itself"
    for blocker in blockers:
        blocker.cancel()
    wait_until(lambda: depth() == 0)


def test_a_call_whose_deadline_passed_is_never_computed(trivium: Installation) -> None:
    (reranker,) = trivium.processes.named("reranker")
    trivium.stub("reranker").Rerank(
        reranker_pb2.RerankRequest(
            question=QUESTION, candidates=[reranker_pb2.RerankCandidate(passage_id="a", text="b")]
        ),
        timeout=30,
    )
    computed = metric(reranker.metrics_address, "trivium_batch_size_sum")
    reranker.send(signal.SIGSTOP)
    try:
        late = [
            trivium.stub("reranker").Rerank.future(
                reranker_pb2.RerankRequest(
                    question=QUESTION, candidates=[reranker_pb2.RerankCandidate(passage_id="a", text=f"{number}")]
                ),
                timeout=0.3,
            )
            for number in range(20)
        ]
        codes = [call.exception().code() for call in late]
    finally:
        reranker.send(signal.SIGCONT)
    assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
    wait_until(reranker.is_serving)
    time.sleep(0.5)
    assert metric(reranker.metrics_address, "trivium_batch_size_sum") == computed


def test_the_reported_budget_adds_up(trivium: Installation) -> None:
    reply = trivium.stub("gateway").Answer(gateway_pb2.AnswerRequest(question=QUESTION), timeout=20)
    report = reply.report
    spent = sum(budget.spent_ms for budget in report.budgets)
    assert [budget.stage for budget in report.budgets] == ["retriever", "reranker", "generator"]
    assert abs(spent + report.gateway_ms - report.elapsed_ms) < 0.01
    assert report.elapsed_ms <= report.deadline_ms <= 20_200  # gRPC rounds deadlines up by as much as 1 %
    for budget, stats in zip(report.budgets, report.stages, strict=True):
        assert budget.stage == stats.stage
        assert stats.queue_ms + stats.compute_ms <= budget.spent_ms <= budget.given_ms
