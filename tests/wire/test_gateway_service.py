"""The gateway over real sockets, before stages that do as they are told."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc
import pytest
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from gateway.config import GatewayConfig
from gateway.service import GatewayService
from tests.wire.scripted_stages import (
    SECRET,
    Act,
    ScriptedGenerator,
    ScriptedReranker,
    ScriptedRetriever,
    fail,
    late,
    serving,
)
from trivium.v1.gateway_pb2 import (
    AnswerRequest,
    AnswerStreamRequest,
    AnswerStreamResponse,
    ExplainRequest,
    SearchOptions,
    SearchRequest,
    Source,
)
from trivium.v1.gateway_pb2_grpc import GatewayServiceStub
from trivium.v1.generator_pb2 import AnswerKind, FinishReason, GenerateRequest, Sampling
from trivium.v1.metadata_pb2 import Equals, Filter, MetadataValue
from trivium.v1.retriever_pb2 import Degradation, FusionWeights, RetrievalMode, RetrieveRequest

if TYPE_CHECKING:
    from trivium.v1.gateway_pb2_grpc import GatewayServiceAsyncStub

Code = grpc.StatusCode
DEADLINE_S = 5.0
RETRY_INFO = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2))
UNREACHABLE = "127.0.0.1:1"
Detail = TypeVar("Detail", bound=Message)


class System:
    """A gateway, the scripted stages behind it, and a stub before it. There are two generators."""

    def __init__(self) -> None:
        self.retriever = ScriptedRetriever(["c", "a", "b"])
        self.reranker = ScriptedReranker()
        self.generators = (ScriptedGenerator(), ScriptedGenerator())
        self.generator_acts = self.generators[1].acts = self.generators[0].acts
        self.midway_acts = self.generators[1].midway_acts = self.generators[0].midway_acts
        self.gateway: GatewayServiceAsyncStub

    @property
    def stages(self) -> list[ScriptedRetriever | ScriptedReranker | ScriptedGenerator]:
        return [self.retriever, self.reranker, *self.generators]

    def config(self) -> GatewayConfig:
        return GatewayConfig(
            retriever_address=self.retriever.address,
            reranker_address=self.reranker.address,
            generator_address="ipv4:" + ",".join(generator.address for generator in self.generators),
        )

    def generations(self) -> list[GenerateRequest]:
        return [request for generator in self.generators for request in generator.requests]

    async def stream(self, request: AnswerStreamRequest, timeout: float = DEADLINE_S) -> list[AnswerStreamResponse]:
        return [event async for event in self.gateway.AnswerStream(request, timeout=timeout)]


@asynccontextmanager
async def gateway_served(config: GatewayConfig) -> AsyncIterator[GatewayServiceAsyncStub]:
    """A gateway as its process serves it, and a stub to call it."""
    metrics = Metrics()
    interceptor = ServerInterceptor(metrics, default_deadline_s=DEADLINE_S, max_deadline_s=60)
    interceptor.ready = True
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    service = GatewayService(config, metrics)
    service.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield GatewayServiceStub(channel)
    await server.stop(0)
    await service.stop()


@pytest.fixture
async def system() -> AsyncIterator[System]:
    system = System()
    async with serving(*system.stages), gateway_served(system.config()) as system.gateway:
        yield system


def ids(sources: Iterable[Source]) -> list[str]:
    return [source.passage.passage_id for source in sources]


def text_of(events: Iterable[AnswerStreamResponse]) -> str:
    return "".join(event.delta.text for event in events)


def detail(error: grpc.aio.AioRpcError, kind: type[Detail]) -> Detail:
    """The one detail of that kind that came with the error."""
    metadata = dict(error.trailing_metadata() or ())
    found = kind()
    (packed,) = status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details
    assert packed.Unpack(found)
    return found


ASK = AnswerRequest(question="What is the answer?")
ASK_STREAM = AnswerStreamRequest(question="What is the answer?")
SEARCH = SearchRequest(question="What is the answer?")


# The path


async def test_an_answer_carries_text_sources_and_report(system: System) -> None:
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.text == "Forty-two [1]."
    assert answer.reason == FinishReason.FINISH_REASON_STOP
    assert answer.kind == AnswerKind.ANSWER_KIND_GENERATED
    assert answer.usage.output_tokens == 3
    assert answer.dropped_passage_ids == ["z"]
    assert [source.number for source in answer.sources] == [1, 2, 3]
    assert answer.report.index_version == 7
    assert [stats.stage for stats in answer.report.stages] == ["retriever", "reranker", "generator"]
    assert not answer.report.degraded


async def test_all_that_the_generator_says_of_its_answer_is_passed_on(system: System) -> None:
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    *_, last = await system.stream(ASK_STREAM)
    for told in (answer, last.finished):
        assert told.prompt_template == "cite-sources-1"
        assert list(told.cited_passage_ids) == ["b", "a"]
        assert told.num_removed_citations == 2
        assert told.stop == "\n\n"
    assert [token.chosen.token for token in answer.tokens] == ["Forty", "-two ", "[1]."]


async def test_the_generator_is_told_dense_scores_and_its_weights_are_passed_on(system: System) -> None:
    for candidate, score in zip(system.retriever.response.candidates, (71.5, 70.25, None), strict=True):
        if score is not None:
            candidate.scores.dense_score = score
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    (request,) = system.generations()
    score_by_passage_id = {"c": 71.5, "a": 70.25, "b": 70.25}  # only BM25 found b: no nearer than the farthest known
    assert list(request.passage_scores) == [score_by_passage_id[one.passage_id] for one in request.passages]
    assert [(one.passage_id, one.weight) for one in answer.passage_weights] == [("a", 0.75), ("b", 0.25)]


async def test_without_the_dense_leg_no_scores_are_sent(system: System) -> None:
    await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    (request,) = system.generations()
    assert not request.passage_scores


async def test_a_stream_is_sources_then_deltas_then_one_finished(system: System) -> None:
    events = await system.stream(ASK_STREAM)
    assert [event.WhichOneof("event") for event in events] == ["sources", *["delta"] * 3, "finished"]
    assert text_of(events) == "Forty-two [1]."


async def test_sources_are_sent_before_the_generator_is_asked(system: System) -> None:
    system.generator_acts.append(late())
    events = system.gateway.AnswerStream(ASK_STREAM, timeout=DEADLINE_S)
    first = await asyncio.wait_for(anext(aiter(events)), timeout=2)
    assert ids(first.sources.sources)
    events.cancel()


async def test_the_generator_reads_the_final_order_and_no_more_than_top_k(system: System) -> None:
    ask = AnswerRequest(
        question="?",
        search=SearchOptions(top_k=2, rerank_weight=1),
        sampling=Sampling(max_output_tokens=9),
    )
    answer = await system.gateway.Answer(ask, timeout=DEADLINE_S)
    (request,) = system.generations()
    assert [passage.passage_id for passage in request.passages] == ids(answer.sources) == ["a", "b"]
    assert request.sampling.max_output_tokens == 9


async def test_the_retriever_gets_the_options_of_the_question(system: System) -> None:
    options = SearchOptions(
        collection="handbooks",
        mode=RetrievalMode.RETRIEVAL_MODE_SPARSE,
        top_k=4,
        num_candidates=12,
        fusion=FusionWeights(dense_weight=2),
        min_index_version=3,
    )
    await system.gateway.Search(SearchRequest(question="Where?", search=options), timeout=DEADLINE_S)
    (request,) = system.retriever.requests
    assert request == RetrieveRequest(
        question="Where?",
        collection="handbooks",
        mode=RetrievalMode.RETRIEVAL_MODE_SPARSE,
        top_k=12,
        fusion=FusionWeights(dense_weight=2),
        min_index_version=3,
    )


async def test_search_generates_nothing_and_scores_every_leg(system: System) -> None:
    system.reranker.best_probability = 0.5
    ask = SearchRequest(question="?", search=SearchOptions(rerank_weight=1))
    found = await system.gateway.Search(ask, timeout=DEADLINE_S)
    assert ids(found.sources) == ["a", "b", "c"]
    scores = found.sources[0].scores
    assert (scores.fused_rank, scores.rerank_rank, scores.rerank_logit) == (2, 1, 0)
    assert scores.rerank_probability == 0.5
    assert not system.generations()


async def test_an_explanation_is_of_the_search_and_generates_nothing(system: System) -> None:
    system.retriever.explains(["z", "y"])
    options = SearchOptions(top_k=2, num_candidates=3, mode=RetrievalMode.RETRIEVAL_MODE_HYBRID)
    found = await system.gateway.Search(SearchRequest(question="?", search=options), timeout=DEADLINE_S)
    explained = await system.gateway.Explain(
        ExplainRequest(question="?", search=options, passage_id="z"), timeout=DEADLINE_S
    )
    searched, asked = system.retriever.requests
    searched.explain, searched.passage_id = True, "z"
    assert asked == searched
    assert system.reranker.requests[0] == system.reranker.requests[1]
    kept = [one for one in explained.candidates if one.HasField("number")]
    assert [(one.number, one.passage, one.scores) for one in kept] == [
        (source.number, source.passage, source.scores) for source in found.sources
    ]
    assert [one.passage.passage_id for one in explained.candidates[-2:]] == ["z", "y"]
    assert explained.passage.candidate.passage.passage_id == "z"
    assert [stats.stage for stats in explained.report.stages] == ["retriever", "reranker"]
    assert not system.generations()


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INTERNAL], ids=str)
async def test_an_explanation_without_the_reranker_says_so(system: System, code: grpc.StatusCode) -> None:
    system.retriever.explains([])
    system.reranker.acts.extend([fail(code)] * 6)
    explained = await system.gateway.Explain(ExplainRequest(question="?"), timeout=2)
    assert explained.report.degraded == [Degradation.DEGRADATION_RERANK_SKIPPED]
    assert [one.passage.passage_id for one in explained.candidates] == ["c", "a", "b"]
    assert not any(one.HasField("reading") for one in explained.candidates)


async def test_a_retriever_that_cannot_explain_is_named(system: System) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Explain(ExplainRequest(question="?"), timeout=DEADLINE_S)
    assert raised.value.code() is Code.FAILED_PRECONDITION
    assert detail(raised.value, error_details_pb2.ErrorInfo).reason == "RETRIEVER_TOO_OLD"


async def test_a_retriever_that_does_not_filter_is_named_and_nothing_of_it_is_shown(system: System) -> None:
    wanted = Filter(equals=Equals(field="team", value=MetadataValue(string_value="ops")))
    search = SearchRequest(question="?", search=SearchOptions(filter=wanted))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Search(search, timeout=DEADLINE_S)
    assert raised.value.code() is Code.FAILED_PRECONDITION
    assert detail(raised.value, error_details_pb2.ErrorInfo).reason == "RETRIEVER_TOO_OLD"
    system.retriever.response.is_filtered = True
    assert ids((await system.gateway.Search(search, timeout=DEADLINE_S)).sources)
    assert [request.filter for request in system.retriever.requests] == [wanted, wanted]


async def test_the_report_names_the_trace_of_the_call(system: System) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S, metadata=metadata)
    assert answer.report.trace_id == trace_id


# Enough evidence


async def test_weak_evidence_abstains_and_the_generator_is_never_called(system: System) -> None:
    system.reranker.best_probability, system.reranker.abstention_threshold = 0.2, 0.3
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.reason == FinishReason.FINISH_REASON_ABSTAINED
    assert (answer.text, answer.HasField("usage"), len(answer.sources)) == ("", False, 3)
    assert not system.generations()


async def test_evidence_at_the_threshold_is_enough(system: System) -> None:
    system.reranker.best_probability = system.reranker.abstention_threshold = 0.25
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.reason == FinishReason.FINISH_REASON_STOP


async def test_without_a_calibration_nobody_abstains(system: System) -> None:
    system.reranker.abstention_threshold = 1
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.reason == FinishReason.FINISH_REASON_STOP


async def test_nothing_found_abstains_without_asking_reranker_or_generator(system: System) -> None:
    del system.retriever.response.candidates[:]
    events = await system.stream(ASK_STREAM)
    assert [event.WhichOneof("event") for event in events] == ["sources", "finished"]
    assert events[-1].finished.reason == FinishReason.FINISH_REASON_ABSTAINED
    assert not system.reranker.requests
    assert not system.generations()


# The ladder


LOST = {
    "down": fail(Code.UNAVAILABLE),
    "late": late(),
    "overloaded": fail(Code.RESOURCE_EXHAUSTED, RETRY_INFO),
    "broken": fail(Code.INTERNAL),
    "unknown": fail(Code.UNKNOWN),
}
lost = pytest.mark.parametrize("act", LOST.values(), ids=LOST.keys())


@lost
async def test_without_the_reranker_the_retrieved_order_is_used_and_declared(system: System, act: Act) -> None:
    system.reranker.acts.extend([act] * 6)
    answer = await system.gateway.Answer(ASK, timeout=2)
    assert system.reranker.requests
    assert ids(answer.sources) == ["c", "a", "b"]
    assert answer.text == "Forty-two [1]."
    assert answer.report.degraded == [Degradation.DEGRADATION_RERANK_SKIPPED]
    assert not answer.sources[0].scores.HasField("rerank_logit")


async def test_a_reranker_that_forgets_a_candidate_is_left_out(system: System) -> None:
    system.reranker.forgets_a_candidate = True
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.report.degraded == [Degradation.DEGRADATION_RERANK_SKIPPED]


async def test_a_late_reranker_leaves_time_for_a_search_to_reply(system: System) -> None:
    system.reranker.acts.append(late())
    found = await system.gateway.Search(SEARCH, timeout=0.5)
    assert found.report.degraded == [Degradation.DEGRADATION_RERANK_SKIPPED]


@lost
async def test_without_the_generator_sources_alone_are_sent_where_allowed(system: System, act: Act) -> None:
    system.generator_acts.extend([act] * 6)
    ask = AnswerRequest(question="?", allow_sources_only=True)
    answer = await system.gateway.Answer(ask, timeout=1)
    assert system.generations()
    assert answer.reason == FinishReason.FINISH_REASON_SOURCES_ONLY
    assert answer.kind == AnswerKind.ANSWER_KIND_UNSPECIFIED
    assert (answer.text, answer.HasField("usage"), len(answer.sources)) == ("", False, 3)
    assert answer.report.degraded == [Degradation.DEGRADATION_GENERATION_SKIPPED]


FAILURES = {
    "down": (fail(Code.UNAVAILABLE), Code.UNAVAILABLE),
    "late": (late(), Code.DEADLINE_EXCEEDED),
    "overloaded": (fail(Code.RESOURCE_EXHAUSTED, RETRY_INFO), Code.RESOURCE_EXHAUSTED),
    "too-large": (fail(Code.RESOURCE_EXHAUSTED), Code.RESOURCE_EXHAUSTED),
    "broken": (fail(Code.INTERNAL), Code.INTERNAL),
    "unknown": (fail(Code.UNKNOWN), Code.INTERNAL),
    "foreign": (fail(Code.NOT_FOUND), Code.INTERNAL),
}
failing = pytest.mark.parametrize(("act", "code"), FAILURES.values(), ids=FAILURES.keys())


@failing
async def test_without_the_generator_an_answer_fails_where_text_is_wanted(
    system: System, act: Act, code: grpc.StatusCode
) -> None:
    system.generator_acts.extend([act] * 6)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=1)
    assert raised.value.code() is code
    assert SECRET not in (raised.value.details() or "")


@failing
async def test_without_the_retriever_no_question_is_answered(system: System, act: Act, code: grpc.StatusCode) -> None:
    system.retriever.acts.extend([act] * 6)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(AnswerRequest(question="?", allow_sources_only=True), timeout=1)
    assert raised.value.code() is code
    assert SECRET not in (raised.value.details() or "")
    assert not system.reranker.requests


async def test_a_late_stage_ends_before_the_deadline_of_the_call(system: System) -> None:
    system.retriever.acts.append(late())
    began = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError):
        await system.gateway.Answer(ASK, timeout=2)
    assert time.monotonic() - began < 1


async def test_a_leg_that_the_retriever_left_out_is_declared(system: System) -> None:
    system.retriever.response.degraded.append(Degradation.DEGRADATION_DENSE_SKIPPED)
    system.reranker.acts.append(fail(Code.INTERNAL))
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.report.degraded == [
        Degradation.DEGRADATION_DENSE_SKIPPED,
        Degradation.DEGRADATION_RERANK_SKIPPED,
    ]


async def test_an_overloaded_stage_says_when_to_come_back(system: System) -> None:
    system.retriever.acts.append(fail(Code.RESOURCE_EXHAUSTED, RETRY_INFO))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert detail(raised.value, error_details_pb2.RetryInfo) == RETRY_INFO


async def test_a_stage_that_is_nowhere_is_unavailable_at_once() -> None:
    config = GatewayConfig(retriever_address=UNREACHABLE)
    async with gateway_served(config) as gateway:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.UNAVAILABLE
    assert detail(raised.value, error_details_pb2.ErrorInfo).metadata["stage"] == "retriever"
    assert time.monotonic() - began < 1


# Faults of the caller's


async def test_a_malformed_question_is_refused_before_any_stage_is_asked(system: System) -> None:
    options = SearchOptions(rerank_weight=math.nan)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.stream(AnswerStreamRequest(question="?", search=options))
    assert raised.value.code() is Code.INVALID_ARGUMENT
    (named,) = detail(raised.value, error_details_pb2.BadRequest).field_violations
    assert named.field == "search.rerank_weight"
    assert not system.retriever.requests


@pytest.mark.parametrize("field", ["collection", "filter.all_of.filters[2].range.at_least"])
async def test_a_field_that_a_stage_refuses_is_named_as_the_caller_wrote_it(system: System, field: str) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="not a name")
    refusal = error_details_pb2.BadRequest(field_violations=[violation])
    system.retriever.acts.append(fail(Code.INVALID_ARGUMENT, refusal, text=f"{field}: not a name"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.INVALID_ARGUMENT
    (named,) = detail(raised.value, error_details_pb2.BadRequest).field_violations
    assert (named.field, named.description) == (f"search.{field}", "not a name")


async def test_a_collection_that_is_not_there_is_not_found(system: System) -> None:
    missing = error_details_pb2.ResourceInfo(resource_type="collection", resource_name="lost")
    system.retriever.acts.append(fail(Code.NOT_FOUND, missing))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.NOT_FOUND
    assert detail(raised.value, error_details_pb2.ResourceInfo) == missing


async def test_a_passage_that_is_not_there_is_not_found(system: System) -> None:
    missing = error_details_pb2.ResourceInfo(resource_type="passage", resource_name="lost#1")
    system.retriever.acts.append(fail(Code.NOT_FOUND, missing))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Explain(ExplainRequest(question="?", passage_id="lost#1"), timeout=DEADLINE_S)
    assert raised.value.code() is Code.NOT_FOUND
    assert detail(raised.value, error_details_pb2.ResourceInfo) == missing


async def test_an_index_that_cannot_be_served_keeps_its_reason(system: System) -> None:
    info = error_details_pb2.ErrorInfo(reason="NOTHING_PUBLISHED", domain="trivium", metadata={"collection": "x"})
    system.retriever.acts.append(fail(Code.FAILED_PRECONDITION, info, text="nothing is published"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.FAILED_PRECONDITION
    assert raised.value.details() == "nothing is published"
    assert detail(raised.value, error_details_pb2.ErrorInfo) == info


async def test_a_question_too_long_for_the_reranker_is_the_callers_fault(system: System) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="question", description="leaves no room")
    refusal = error_details_pb2.BadRequest(field_violations=[violation])
    system.reranker.acts.append(fail(Code.INVALID_ARGUMENT, refusal))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.INVALID_ARGUMENT


async def test_candidates_that_the_reranker_refuses_are_no_fault_of_the_callers(system: System) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="candidates", description="at most 2")
    refusal = error_details_pb2.BadRequest(field_violations=[violation])
    system.reranker.acts.append(fail(Code.INVALID_ARGUMENT, refusal))
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.report.degraded == [Degradation.DEGRADATION_RERANK_SKIPPED]


# Stages that go away


@pytest.mark.parametrize("code", [Code.CANCELLED, Code.UNAVAILABLE], ids=str)
async def test_a_call_that_a_stopping_stage_cut_off_is_made_again(system: System, code: grpc.StatusCode) -> None:
    system.retriever.acts.append(fail(code))
    system.reranker.acts.append(fail(code))
    system.generator_acts.append(fail(code))
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.text == "Forty-two [1]."
    assert not answer.report.degraded
    assert [len(system.retriever.requests), len(system.reranker.requests), len(system.generations())] == [2, 2, 2]


async def test_a_call_that_is_cut_off_twice_is_given_up(system: System) -> None:
    system.retriever.acts.extend([fail(Code.CANCELLED)] * 3)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.UNAVAILABLE
    assert len(system.retriever.requests) == 2


@pytest.mark.parametrize("code", [Code.CANCELLED, Code.UNAVAILABLE], ids=str)
async def test_a_broken_generation_is_begun_again_elsewhere_for_an_answer(
    system: System, code: grpc.StatusCode
) -> None:
    while not all(generator.requests for generator in system.generators):
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    before = [len(generator.requests) for generator in system.generators]
    system.midway_acts.append(fail(code))
    answer = await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert answer.text == "Forty-two [1]."
    assert [len(generator.requests) for generator in system.generators] == [count + 1 for count in before]


async def test_a_stream_that_breaks_after_its_first_delta_fails(system: System) -> None:
    system.midway_acts.append(fail(Code.UNAVAILABLE))
    ask = AnswerStreamRequest(question="?", allow_sources_only=True)
    events = system.gateway.AnswerStream(ask, timeout=DEADLINE_S)
    assert [(await anext(aiter(events))).WhichOneof("event") for _ in range(2)] == ["sources", "delta"]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(events))
    assert raised.value.code() is Code.UNAVAILABLE
    assert len(system.generations()) == 1


async def test_a_stream_that_breaks_before_its_first_delta_is_begun_again(system: System) -> None:
    system.generator_acts.append(fail(Code.CANCELLED))
    events = await system.stream(ASK_STREAM)
    assert text_of(events) == "Forty-two [1]."
    assert len(system.generations()) == 2


@pytest.mark.parametrize("pieces", [[], ["Forty"]], ids=["empty", "with-text"])
async def test_a_generation_without_an_end_is_no_answer(system: System, pieces: list[str]) -> None:
    for generator in system.generators:
        generator.pieces, generator.finishes = pieces, False
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await system.gateway.Answer(ASK, timeout=DEADLINE_S)
    assert raised.value.code() is Code.INTERNAL


# The deadline


async def test_the_reported_budget_adds_up(system: System) -> None:
    system.retriever.acts.append(late(0.05))
    system.reranker.acts.append(late(0.1))
    system.generator_acts.append(late(0.15))
    began = time.monotonic()
    report = (await system.gateway.Answer(ASK, timeout=4)).report
    took_ms = (time.monotonic() - began) * 1e3
    assert [budget.stage for budget in report.budgets] == ["retriever", "reranker", "generator"]
    for budget, slept_ms in zip(report.budgets, [50, 100, 150], strict=True):
        assert budget.spent_ms > 0.9 * slept_ms
        assert budget.spent_ms < budget.given_ms
    assert report.elapsed_ms == pytest.approx(sum(budget.spent_ms for budget in report.budgets) + report.gateway_ms)
    assert 0 < report.gateway_ms < took_ms - 270
    assert 270 < report.elapsed_ms < took_ms
    assert report.deadline_ms == pytest.approx(4_000, abs=500)


async def test_each_stage_is_given_the_deadline_that_is_reported(system: System) -> None:
    report = (await system.gateway.Answer(ASK, timeout=4)).report
    seen_s = [system.retriever.given_s[0], system.reranker.given_s[0]]
    seen_s += [given for generator in system.generators for given in generator.given_s]
    for budget, seen in zip(report.budgets, seen_s, strict=True):
        assert budget.given_ms == pytest.approx(seen * 1e3, abs=100)
    assert report.budgets[0].given_ms < report.budgets[2].given_ms


async def test_a_call_without_a_deadline_gets_the_default_one(system: System) -> None:
    answer = await system.gateway.Answer(ASK)
    assert answer.report.deadline_ms == pytest.approx(DEADLINE_S * 1e3, abs=100)


# Cancelling


@pytest.mark.parametrize("stage", ["retriever", "reranker", "generator"])
@pytest.mark.parametrize("streams", [False, True], ids=["Answer", "AnswerStream"])
async def test_a_cancelled_question_is_cancelled_at_the_stage_it_reached(
    system: System, stage: str, streams: bool
) -> None:
    scripted = {"retriever": system.retriever, "reranker": system.reranker, "generator": system.generators[0]}[stage]
    for one in system.stages:
        one.acts = deque([late()] if scripted is one else ())
    system.generators[1].acts = system.generators[0].acts
    asked = asyncio.create_task(system.stream(ASK_STREAM) if streams else _answer(system))
    await _first(*(one.called for one in (system.generators if stage == "generator" else (scripted,))))
    began = time.monotonic()
    asked.cancel()
    await _first(*(one.cancelled for one in (system.generators if stage == "generator" else (scripted,))))
    assert time.monotonic() - began < 0.5
    assert asked.cancelled() or asked.cancelling()


async def test_a_stream_dropped_by_its_reader_is_cancelled_at_the_generator(system: System) -> None:
    system.midway_acts.append(late())
    events = system.gateway.AnswerStream(ASK_STREAM, timeout=DEADLINE_S)
    async for event in events:
        if event.HasField("delta"):
            break
    events.cancel()
    await _first(*(generator.cancelled for generator in system.generators))


async def test_a_stream_that_nobody_reads_is_cancelled_at_the_generator(system: System) -> None:
    """The gateway is stuck in sending, not in waiting, when the cancellation comes."""
    for generator in system.generators:
        generator.pieces = ["x" * 100_000] * 1_000
    events = system.gateway.AnswerStream(ASK_STREAM, timeout=DEADLINE_S)
    await anext(aiter(events))
    await asyncio.sleep(0.5)
    assert not any(generator.cancelled.is_set() for generator in system.generators)
    events.cancel()
    await _first(*(generator.cancelled for generator in system.generators))


async def test_four_refusals_in_a_row_are_got_over(system: System) -> None:
    """gRPC asks three times, the gateway once more."""
    system.retriever.acts.extend([fail(Code.UNAVAILABLE)] * 3)
    await system.gateway.Search(SEARCH, timeout=DEADLINE_S)
    assert len(system.retriever.requests) == 4


async def _answer(system: System) -> None:
    await system.gateway.Answer(ASK, timeout=DEADLINE_S)


async def _first(*events: asyncio.Event) -> None:
    """Returns when the first of them is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    done, pending = await asyncio.wait(waits, timeout=3, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    assert done, "it never happened"
