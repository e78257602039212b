"""How `trivium eval` asks, against a gateway that does as it is told: a real server on a real port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo

from chassis.errors import rich_status
from cli.connection import open_channel
from cli.evaluation.asking import Asking, Degraded, Findings, Wanted
from cli.evaluation.crowd import Asked, ask_all
from cli.evaluation.failure import EvaluationFailed
from cli.evaluation.question_set import Question
from cli.evaluation.site import Published, Site
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, passage_pb2, retriever_pb2

QUESTION = Question("q1", "What does the heron eat?", {"d0": 1})
RANKINGS = Wanted(rankings=True, logits=False, answer=False)
DENSE = retriever_pb2.RETRIEVAL_MODE_DENSE
LEGS = (DENSE, retriever_pb2.RETRIEVAL_MODE_SPARSE, retriever_pb2.RETRIEVAL_MODE_HYBRID)
Reply = Callable[[gateway_pb2.SearchRequest, grpc.ServicerContext], gateway_pb2.SearchResponse]


class ScriptedGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Finds `passages_each` passages of each of `num_documents` documents, unless `reply` says something else."""

    def __init__(self, num_documents: int = 500, passages_each: int = 1, reply: Reply | None = None) -> None:
        self._num_documents, self._passages_each, self._reply = num_documents, passages_each, reply
        self.requests: list[gateway_pb2.SearchOptions] = []

    def Search(self, request: gateway_pb2.SearchRequest, context: grpc.ServicerContext) -> gateway_pb2.SearchResponse:
        self.requests.append(request.search)
        return self._reply(request, context) if self._reply else self.found(request)

    def Answer(self, request: gateway_pb2.AnswerRequest, context: grpc.ServicerContext) -> gateway_pb2.AnswerResponse:
        raise NotImplementedError

    def Explain(
        self, request: gateway_pb2.ExplainRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ExplainResponse:
        raise NotImplementedError

    def AnswerStream(
        self, request: gateway_pb2.AnswerStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.AnswerStreamResponse]:
        raise NotImplementedError

    def found(
        self, request: gateway_pb2.SearchRequest, *degraded: retriever_pb2.Degradation
    ) -> gateway_pb2.SearchResponse:
        count = min(request.search.top_k, self._num_documents * self._passages_each)
        sources = [
            gateway_pb2.Source(
                number=number + 1,
                passage=passage_pb2.Passage(passage_id=f"p{number}", document_id=f"d{number // self._passages_each}"),
                scores=passage_pb2.Scores(rerank_logit=-number),
            )
            for number in range(count)
        ]
        report = gateway_pb2.Report(
            degraded=degraded, stages=[passage_pb2.StageStats(stage="reranker", model="embedded", revision="53aa")]
        )
        return gateway_pb2.SearchResponse(sources=sources, report=report)

    def asked_for(self, mode: retriever_pb2.RetrievalMode, weight: float | None) -> list[int]:
        """`top_k` of the searches in a mode that named this weight."""
        return [
            one.top_k
            for one in self.requests
            if one.mode == mode and (one.rerank_weight if one.HasField("rerank_weight") else None) == weight
        ]


@contextmanager
def serving(gateway: ScriptedGateway, num_documents: int = 500, max_passages: int = 1_000) -> Iterator[Asking]:
    server = grpc.server(ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
    register: Any = gateway_pb2_grpc.add_GatewayServiceServicer_to_server
    register(gateway, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with open_channel(address) as channel:
            site = Site(address, address, "", max_passages)
            published = Published("eval-1", 3, num_documents, 2 * num_documents, None)
            yield Asking(site, {address: channel}, published, num_candidates=30, timeout_s=10)
    finally:
        server.stop(None).wait()


def test_every_leg_is_asked_in_its_own_mode_and_the_final_order_with_the_gateways_own_blend() -> None:
    gateway = ScriptedGateway()
    with serving(gateway) as asking:
        findings = asking.ask(QUESTION, RANKINGS)
    assert [gateway.asked_for(mode, 0.0) for mode in LEGS] == [[150], [150], [150]]
    assert gateway.asked_for(retriever_pb2.RETRIEVAL_MODE_UNSPECIFIED, None) == [30]
    assert {(one.collection, one.min_index_version) for one in gateway.requests} == {("eval-1", 3)}
    assert all(one.num_candidates == one.top_k for one in gateway.requests)
    assert findings.rankings["dense"] == [f"d{number}" for number in range(150)]
    assert findings.model_by_stage == {"reranker": {"model": "embedded", "revision": "53aa"}}


def test_documents_that_were_no_candidates_follow_the_reranked_ones_in_fused_order() -> None:
    def reply(request: gateway_pb2.SearchRequest, context: grpc.ServicerContext) -> gateway_pb2.SearchResponse:
        response = gateway.found(request)
        if not request.search.HasField("rerank_weight"):
            reranked = list(response.sources)[::-1]
            del response.sources[:]
            response.sources.extend(reranked)
        return response

    gateway = ScriptedGateway(reply=reply)
    with serving(gateway) as asking:
        findings = asking.ask(QUESTION, RANKINGS)
    expected = [f"d{number}" for number in [*range(29, -1, -1), *range(30, 150)]]
    assert findings.rankings["reranked"] == expected
    assert findings.logits == [(-number, f"d{number}") for number in range(29, -1, -1)]


def test_more_passages_are_asked_for_until_they_are_of_a_hundred_documents() -> None:
    gateway = ScriptedGateway(passages_each=4)
    with serving(gateway) as asking:
        findings = asking.ask(QUESTION, RANKINGS)
    assert gateway.asked_for(DENSE, 0.0) == [150, 300, 600]
    assert len(findings.rankings["dense"]) == 150
    assert (findings.num_passages["dense"], findings.is_short["dense"]) == (600, False)


def test_what_cannot_be_asked_for_is_said() -> None:
    gateway = ScriptedGateway(passages_each=4)
    with serving(gateway, max_passages=100) as asking:
        findings = asking.ask(QUESTION, RANKINGS)
    assert gateway.asked_for(DENSE, 0.0) == [100]
    assert (len(findings.rankings["dense"]), findings.is_short["dense"]) == (25, True)


@pytest.mark.parametrize(("num_documents", "passages_each"), [(3, 10), (20, 8)], ids=["all-found", "small-corpus"])
def test_a_small_corpus_is_not_asked_for_documents_that_it_does_not_have(
    num_documents: int, passages_each: int
) -> None:
    gateway = ScriptedGateway(num_documents, passages_each)
    with serving(gateway, num_documents=num_documents) as asking:
        findings = asking.ask(QUESTION, RANKINGS)
    assert findings.is_short["dense"] is False
    assert len(findings.rankings["dense"]) == num_documents


def test_an_order_of_which_a_step_was_left_out_is_not_measured() -> None:
    def without(*degraded: retriever_pb2.Degradation) -> ScriptedGateway:
        return ScriptedGateway(reply=lambda request, context: ScriptedGateway().found(request, *degraded))

    for degraded in (retriever_pb2.DEGRADATION_DENSE_SKIPPED, retriever_pb2.DEGRADATION_RERANK_SKIPPED):
        with (
            serving(without(degraded)) as asking,
            pytest.raises(Degraded, match=retriever_pb2.Degradation.Name(degraded).removeprefix("DEGRADATION_")),
        ):
            asking.ask(QUESTION, RANKINGS)


def test_a_gateway_that_is_full_is_asked_again_when_it_says_so() -> None:
    full = [True, True]

    def reply(request: gateway_pb2.SearchRequest, context: grpc.ServicerContext) -> gateway_pb2.SearchResponse:
        if full and full.pop():
            code, text = grpc.StatusCode.RESOURCE_EXHAUSTED, "full"
            retry = RetryInfo(retry_delay=Duration(nanos=1_000_000))
            context.set_trailing_metadata((("grpc-status-details-bin", rich_status(code, text, [retry])),))
            context.abort(code, text)
        return gateway.found(request)

    gateway = ScriptedGateway(reply=reply)
    with serving(gateway) as asking:
        assert len(asking.ask(QUESTION, RANKINGS).rankings["dense"]) == 150
    assert gateway.asked_for(DENSE, 0.0) == [150, 150, 150]


def crowd(names: list[str], failing: set[str], concurrency: int = 4) -> tuple[Asked, list[int]]:
    progress: list[int] = []

    def ask(question: Question) -> Findings:
        if question.question_id in failing:
            raise Degraded("degraded: DENSE_SKIPPED")
        return Findings()

    questions = [Question(name, "?", {}) for name in names]
    return ask_all(questions, ask, concurrency, progress.append), progress


def test_a_few_failed_questions_are_named_and_the_rest_counted() -> None:
    names = [f"q{number}" for number in range(20)]
    asked, progress = crowd(names, {"q3", "q7"})
    assert asked.reason_by_question_id == {"q3": "degraded: DENSE_SKIPPED", "q7": "degraded: DENSE_SKIPPED"}
    assert sorted(asked.findings_by_question_id) == sorted(set(names) - {"q3", "q7"})
    assert progress[-1] == 20


@pytest.mark.parametrize(("count", "num_failing"), [(20, 4), (1, 1)], ids=["more-than-a-few", "all"])
def test_more_than_a_few_failed_questions_end_it(count: int, num_failing: int) -> None:
    names = [f"q{number}" for number in range(count)]
    with pytest.raises(EvaluationFailed, match="q0: degraded: DENSE_SKIPPED"):
        crowd(names, set(names[:num_failing]))


def test_no_more_questions_than_allowed_are_on_their_way_at_once() -> None:
    lock, now, most = threading.Lock(), 0, 0
    barrier = threading.Barrier(3)

    def ask(question: Question) -> Findings:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        barrier.wait(timeout=10)
        with lock:
            now -= 1
        return Findings()

    ask_all([Question(f"q{number}", "?", {}) for number in range(9)], ask, 3, lambda count: None)
    assert most == 3
