"""Bad input gets a clear, typed error that names the field, and the server is as healthy afterwards as before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from cli.connection import Refusal
from tests.installation import Installation
from trivium.v1 import gateway_pb2, generator_pb2, passage_pb2, reranker_pb2, retriever_pb2

QUESTION = "What happens when the reranker is down?"
ANSWER = "/trivium.v1.GatewayService/Answer"


@pytest.fixture(autouse=True)
def healthy_afterwards(trivium: Installation) -> Iterator[None]:
    yield
    assert all(process.is_running and process.is_serving() for process in trivium.processes.all)
    reply = trivium.stub("gateway").Answer(answer(top_k=1, num_candidates=2), timeout=30)
    assert reply.text
    assert not reply.report.degraded
    assert "Traceback" not in trivium.logs()


def refusal(trivium: Installation, process: str, method: str, request: Any) -> Refusal:
    """Why a call was refused. A request of bytes is sent as it is."""
    as_it_is = isinstance(request, bytes)
    call: Any = trivium.channels[process].unary_unary(
        method, request_serializer=(lambda request: request) if as_it_is else type(request).SerializeToString
    )
    try:
        call(request, timeout=30)
    except grpc.RpcError as error:
        return Refusal.of(error)
    raise AssertionError(f"{method} took it")


@dataclass(frozen=True)
class Case:
    name: str
    request: Any
    field: str
    code: str = "INVALID_ARGUMENT"


def answer(question: str = QUESTION, **search: Any) -> gateway_pb2.AnswerRequest:
    return gateway_pb2.AnswerRequest(question=question, search=gateway_pb2.SearchOptions(**search))


def sampled(max_output_tokens: int) -> gateway_pb2.AnswerRequest:
    sampling = generator_pb2.Sampling(max_output_tokens=max_output_tokens)
    return gateway_pb2.AnswerRequest(question=QUESTION, sampling=sampling)


NAN = float("nan")
NEGATIVE_TOP_K = answer().SerializeToString() + b"\x12\x0b\x18" + b"\xff" * 9 + b"\x01"
"""`search.top_k` = -1, as a signed writer would send it: ten bytes of a 64-bit varint."""

GATEWAY = [
    Case("an empty question", answer(""), "question"),
    Case("a question of white space", answer(" \n\t "), "question"),
    Case("a question of one megabyte", answer("a" * 1_000_000), "question"),
    Case("top_k of zero", answer(top_k=0), "search.top_k"),
    Case("a negative top_k", NEGATIVE_TOP_K, "search.top_k"),
    Case("top_k above the maximum", answer(top_k=101), "search.top_k"),
    Case("num_candidates of zero", answer(num_candidates=0), "search.num_candidates"),
    Case("num_candidates above the maximum", answer(num_candidates=1_001), "search.num_candidates"),
    Case("fewer candidates than passages", answer(top_k=10, num_candidates=5), "search.num_candidates"),
    Case("an unknown mode", answer(mode=99), "search.mode"),
    Case("a weight that is no number", answer(rerank_weight=NAN), "search.rerank_weight"),
    Case("a weight above one", answer(rerank_weight=1.5), "search.rerank_weight"),
    Case(
        "a fusion weight that is no number",
        answer(fusion=retriever_pb2.FusionWeights(dense_weight=NAN)),
        "search.fusion.dense_weight",
    ),
    Case(
        "an infinite fusion weight",
        answer(fusion=retriever_pb2.FusionWeights(bm25_weight=float("inf"))),
        "search.fusion.bm25_weight",
    ),
    Case("no output at all", sampled(0), "sampling.max_output_tokens"),
    Case("more output than allowed", sampled(4_097), "sampling.max_output_tokens"),
    Case("a collection that is a path", answer(collection="../secrets"), "search.collection"),
]


@pytest.mark.parametrize("case", GATEWAY, ids=lambda case: case.name)
def test_the_gateway_names_the_field(trivium: Installation, case: Case) -> None:
    refused = refusal(trivium, "gateway", ANSWER, case.request)
    assert refused.code == "INVALID_ARGUMENT"
    assert [violation["field"] for violation in refused.field_violations] == [case.field]
    assert len(refused.trace_id) == 32


def test_an_unknown_collection_is_not_found(trivium: Installation) -> None:
    assert refusal(trivium, "gateway", ANSWER, answer(collection="nowhere")).code == "NOT_FOUND"


def test_text_that_is_not_utf8_is_an_invalid_argument(trivium: Installation) -> None:
    refused = refusal(trivium, "gateway", ANSWER, b"\x0a\x02\xff\xfe")
    assert refused.code == "INVALID_ARGUMENT"
    assert "UTF-8" in refused.message


def test_bytes_that_are_no_message_are_an_invalid_argument(trivium: Installation) -> None:
    assert refusal(trivium, "gateway", ANSWER, b"\x0a\x7f").code == "INVALID_ARGUMENT"


def test_a_message_above_the_limit_is_resource_exhausted(trivium: Installation) -> None:
    assert refusal(trivium, "gateway", ANSWER, answer("a" * (17 << 20))).code == "RESOURCE_EXHAUSTED"


def test_a_stream_is_refused_like_a_unary_call(trivium: Installation) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        list(trivium.stub("gateway").AnswerStream(gateway_pb2.AnswerStreamRequest(question=" "), timeout=30))
    assert Refusal.of(raised.value).field_violations[0]["field"] == "question"


def retrieve(**options: Any) -> retriever_pb2.RetrieveRequest:
    return retriever_pb2.RetrieveRequest(**{"question": QUESTION, **options})


def weighted(**weights: Any) -> retriever_pb2.RetrieveRequest:
    return retrieve(fusion=retriever_pb2.FusionWeights(**weights))


RETRIEVER = [
    Case("an empty question", retrieve(question=""), "question"),
    Case("a question of one megabyte", retrieve(question="a" * 1_000_000), "question"),
    Case("top_k of zero", retrieve(top_k=0), "top_k"),
    Case("top_k above the maximum", retrieve(top_k=1_001), "top_k"),
    Case("an unknown mode", retrieve(mode=99), "mode"),
    Case("a collection that is a path", retrieve(collection="../secrets"), "collection"),
    Case(
        "a weight that is no number",
        retrieve(fusion=retriever_pb2.FusionWeights(bm25_weight=NAN)),
        "fusion.bm25_weight",
    ),
    Case("an rrf_k of zero", weighted(rrf_k=0), "fusion.rrf_k"),
    Case("no collection of that name", retrieve(collection="nowhere"), "", "NOT_FOUND"),
]


def rerank(*candidates: tuple[str, str], question: str = QUESTION) -> reranker_pb2.RerankRequest:
    return reranker_pb2.RerankRequest(
        question=question,
        candidates=[reranker_pb2.RerankCandidate(passage_id=one, text=text) for one, text in candidates],
    )


RERANKER = [
    Case("an empty question", rerank(("a", "text"), question=""), "question"),
    Case("no candidates", rerank(), "candidates"),
    Case("too many candidates", rerank(*((str(n), "text") for n in range(1_001))), "candidates"),
    Case("duplicate passage ids", rerank(("a", "one"), ("b", "two"), ("a", "three")), "candidates[2].passage_id"),
    Case("an empty passage", rerank(("a", "one"), ("b", "")), "candidates[1].text"),
    Case("an empty passage id", rerank(("", "one")), "candidates[0].passage_id"),
    Case("a question without room for a passage", rerank(("a", "one"), question="word " * 1_600), "question"),
]


def generate(*passages: tuple[str, str], question: str = QUESTION) -> generator_pb2.GenerateRequest:
    return generator_pb2.GenerateRequest(
        question=question, passages=[passage_pb2.Passage(passage_id=one, text=text) for one, text in passages]
    )


GENERATOR = [
    Case("an empty question", generate(("a", "text"), question=""), "question"),
    Case("no passages", generate(), "passages"),
    Case("too many passages", generate(*((str(n), "text") for n in range(101))), "passages"),
    Case("duplicate passage ids", generate(("a", "one"), ("a", "two")), "passages[1].passage_id"),
    Case("an empty passage", generate(("a", "one"), ("b", "")), "passages[1].text"),
]

STAGES = [
    *(("retriever", "/trivium.v1.RetrieverService/Retrieve", case) for case in RETRIEVER),
    *(("reranker", "/trivium.v1.RerankerService/Rerank", case) for case in RERANKER),
    *(("generator", "/trivium.v1.GeneratorService/Generate", case) for case in GENERATOR),
]


@pytest.mark.parametrize(("process", "method", "case"), STAGES, ids=[f"{one[0]}: {one[2].name}" for one in STAGES])
def test_each_stage_names_the_field(trivium: Installation, process: str, method: str, case: Case) -> None:
    if process == "generator":
        with pytest.raises(grpc.RpcError) as raised:
            list(trivium.stub("generator").Generate(case.request, timeout=30))
        refused = Refusal.of(raised.value)
    else:
        refused = refusal(trivium, process, method, case.request)
    assert refused.code == case.code
    assert [violation["field"] for violation in refused.field_violations] == ([case.field] if case.field else [])


CONTROL_TOKENS = "[SEP] [CLS] [MASK] [PAD] </s> <s> <pad> <unk> <mask> <extra_id_0> <|im_end|> <|endoftext|>"


def test_text_that_spells_control_tokens_is_text(trivium: Installation) -> None:
    gateway = trivium.stub("gateway")
    plain = gateway.Answer(answer(), timeout=30)
    question = f"{QUESTION} {CONTROL_TOKENS}"
    spelt = gateway.Answer(answer(question), timeout=30)  # perhaps without a text: no passage speaks of such words
    assert {source.passage.document_id for source in spelt.sources} & {
        source.passage.document_id for source in plain.sources
    }
    passages = [source.passage for source in plain.sources]
    written = trivium.stub("generator").Generate(
        generator_pb2.GenerateRequest(question=question, passages=passages), timeout=30
    )
    assert any(event.delta for event in written)
    count = trivium.stub("generator").CountTokens
    (tokens,) = count(generator_pb2.CountTokensRequest(texts=["[SEP]"]), timeout=30).num_tokens
    assert tokens == 3  # "[", "sep", "]": a control token would be one
