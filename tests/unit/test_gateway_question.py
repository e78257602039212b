"""What the gateway takes for a question."""

from __future__ import annotations

import math

import pytest

from chassis.errors import InvalidRequest
from gateway.config import GatewayConfig
from gateway.question import Question, read_explanation, read_question, read_search
from trivium.v1.gateway_pb2 import AnswerRequest, ExplainRequest, SearchOptions
from trivium.v1.generator_pb2 import Sampling
from trivium.v1.metadata_pb2 import Equals, Filter, MetadataValue
from trivium.v1.retriever_pb2 import RetrievalMode, RetrieveRequest

CONFIG = GatewayConfig()


def read(options: SearchOptions | None = None, text: str = "Why?") -> Question:
    return read_search(text, options or SearchOptions(), CONFIG)


def test_a_bare_question_gets_the_documented_defaults() -> None:
    question = read()
    assert question.retrieval == RetrieveRequest(question="Why?", top_k=30)
    assert (question.top_k, question.rerank_weight) == (5, CONFIG.rerank_weight)


def test_as_many_candidates_as_passages_are_retrieved_at_least() -> None:
    assert read(SearchOptions(top_k=70)).retrieval.top_k == 70


def test_how_far_an_index_is_searched_is_passed_on() -> None:
    asked = read(SearchOptions(nprobe=3, ef_search=200)).retrieval
    assert (asked.nprobe, asked.ef_search) == (3, 200)
    assert not read().retrieval.HasField("nprobe")
    assert not read().retrieval.HasField("ef_search")


def test_a_weight_of_zero_is_a_weight() -> None:
    assert read(SearchOptions(rerank_weight=0)).rerank_weight == 0


def test_the_largest_question_is_taken() -> None:
    assert read(text="é" * 8_192).text == "é" * 8_192


@pytest.mark.parametrize(
    ("options", "field"),
    [
        pytest.param(SearchOptions(mode=99), "search.mode", id="unknown-mode"),  # type: ignore[arg-type]
        pytest.param(SearchOptions(top_k=0), "search.top_k", id="top_k-0"),
        pytest.param(SearchOptions(top_k=101), "search.top_k", id="top_k-above"),
        pytest.param(SearchOptions(num_candidates=0), "search.num_candidates", id="candidates-0"),
        pytest.param(SearchOptions(num_candidates=1_001), "search.num_candidates", id="candidates-above"),
        pytest.param(SearchOptions(top_k=9, num_candidates=8), "search.num_candidates", id="candidates-below-top_k"),
        pytest.param(SearchOptions(num_candidates=4), "search.num_candidates", id="candidates-below-default-top_k"),
        pytest.param(SearchOptions(rerank_weight=math.nan), "search.rerank_weight", id="weight-nan"),
        pytest.param(SearchOptions(rerank_weight=1.5), "search.rerank_weight", id="weight-above"),
        pytest.param(SearchOptions(rerank_weight=-0.5), "search.rerank_weight", id="weight-negative"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(options: SearchOptions, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(options)
    assert [name for name, _ in raised.value.violations] == [field]


@pytest.mark.parametrize("text", ["", " \n\t", "x" * 8_193], ids=["empty", "white-space", "too-long"])
def test_a_question_of_no_use_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(text=text)
    assert raised.value.violations[0][0] == "question"
    assert "xxx" not in str(raised.value)


@pytest.mark.parametrize("mode", RetrievalMode.values())
def test_every_mode_of_the_contract_is_taken(mode: RetrievalMode) -> None:
    assert read(SearchOptions(mode=mode)).retrieval.mode == mode


@pytest.mark.parametrize("max_output_tokens", [0, 4_097])
def test_an_answer_longer_than_any_is_refused(max_output_tokens: int) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_question(AnswerRequest(question="?", sampling=Sampling(max_output_tokens=max_output_tokens)), CONFIG)
    assert raised.value.violations[0][0] == "sampling.max_output_tokens"


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        pytest.param(Sampling(min_output_tokens=257), "min_output_tokens", id="least-above-the-default-most"),
        pytest.param(Sampling(temperature=math.nan), "temperature", id="temperature-nan"),
        pytest.param(Sampling(top_p=0.5), "top_p", id="top_p-without-temperature"),
        pytest.param(Sampling(num_beams=17), "num_beams", id="beams-above"),
        pytest.param(Sampling(stop=["a", ""]), "stop[1]", id="empty-stop"),
    ],
)
def test_what_the_contract_does_not_allow_of_sampling_never_reaches_a_generator(sampling: Sampling, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_question(AnswerRequest(question="?", sampling=sampling), CONFIG)
    assert [name for name, _ in raised.value.violations] == [f"sampling.{field}"]


def test_sampling_is_passed_on_as_it_is() -> None:
    sampling = Sampling(temperature=0.7, top_p=0.9, seed=2**64 - 1, stop=["\n"], num_top_logprobs=0)
    assert read_question(AnswerRequest(question="?", sampling=sampling), CONFIG).sampling == sampling


def test_how_an_answer_is_written_is_the_generators_to_say_where_the_request_is_silent() -> None:
    question = read_question(AnswerRequest(question="?"), CONFIG)
    assert (question.sampling, question.allow_sources_only) == (None, False)


def test_an_explanation_is_of_the_same_search() -> None:
    options = SearchOptions(top_k=7, num_candidates=9, rerank_weight=0.25)
    asked = read_explanation(ExplainRequest(question="Why?", search=options), CONFIG)
    searched = read(options)
    assert asked.retrieval == RetrieveRequest(question="Why?", top_k=9, explain=True)
    assert (asked.top_k, asked.rerank_weight) == (searched.top_k, searched.rerank_weight)


def test_a_filter_goes_to_the_retriever_as_it_is() -> None:
    wanted = Filter(equals=Equals(field="year", value=MetadataValue(integer_value=2024)))
    assert read(SearchOptions(filter=wanted)).retrieval.filter == wanted
    assert not read().retrieval.HasField("filter")


@pytest.mark.parametrize("passage_id", ["", "x" * 513], ids=["empty", "long"])
def test_what_is_no_passage_id_is_refused_by_name(passage_id: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_explanation(ExplainRequest(question="Why?", passage_id=passage_id), CONFIG)
    assert [field for field, _ in raised.value.violations] == ["passage_id"]
