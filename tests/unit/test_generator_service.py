"""The generator over a real server on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import torch
from google.rpc import error_details_pb2, status_pb2
from transformers import AutoTokenizer, RagSequenceForGeneration, RagTokenForGeneration

from chassis import checkpoint
from chassis.config import ConfigError
from chassis.device import Device
from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from chassis.queue import Queue
from chassis.runtime import Runtime
from services.generator.config import GeneratorConfig
from services.generator.decoding import Generation
from services.generator.service import GeneratorService
from tests.unit import seeded_generators as seeded
from trivium.v1 import generator_pb2 as pb
from trivium.v1 import generator_pb2_grpc, passage_pb2

TEXT = "The reranker scores at most 200 candidates. Coffee is brewed at noon. Ships sail at six."
START = 70

if TYPE_CHECKING:  # in the stubs' stubs only
    Stub = generator_pb2_grpc.GeneratorServiceAsyncStub


async def until(is_so: Callable[[], object]) -> None:
    for _ in range(500):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 5 s in vain")


class Served:
    def __init__(self, stub: Stub, service: GeneratorService, runtime: Runtime, queue: Queue[Generation]) -> None:
        self.stub, self.service, self.runtime, self.queue = stub, service, runtime, queue

    async def answer(self, request: pb.GenerateRequest) -> tuple[list[pb.TextDelta], pb.GenerateFinished]:
        *deltas, last = [one async for one in self.stub.Generate(request)]
        assert all(one.WhichOneof("event") == "delta" for one in deltas)
        return [one.delta for one in deltas], last.finished


@contextlib.asynccontextmanager
async def served(settings: GeneratorConfig) -> AsyncIterator[Served]:
    """A ready generator, which is stopped afterwards."""
    metrics = Metrics()
    runtime = Runtime("generator", "here:1", settings, metrics, Device("cpu"))
    queue = runtime.queue()
    runtime.queue = lambda pads=True: queue  # type: ignore[method-assign]  # to read its statistics
    service = GeneratorService(settings, runtime)
    interceptor = ServerInterceptor(metrics, settings.default_deadline_s, settings.max_deadline_s)
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    service.register(server)
    try:
        await service.start()
        interceptor.ready = True
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(generator_pb2_grpc.GeneratorServiceStub(channel), service, runtime, queue)
    finally:
        await server.stop(0)
        await service.stop()
        runtime.close()


def request(question: str = "How many candidates are scored?", *texts: str) -> pb.GenerateRequest:
    passages = [
        passage_pb2.Passage(
            passage_id=f"p{number}",
            text=text,
            range=passage_pb2.CharacterRange(start=START, end=START + len(text)),
        )
        for number, text in enumerate(texts or (TEXT,))
    ]
    return pb.GenerateRequest(question=question, passages=passages)


def sampled(max_output_tokens: int, asked: pb.GenerateRequest | None = None) -> pb.GenerateRequest:
    asked = asked or request()
    asked.sampling.max_output_tokens = max_output_tokens
    return asked


def field_of(error: grpc.aio.AioRpcError) -> str:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    bad_request = error_details_pb2.BadRequest()
    status_pb2.Status.FromString(details).details[0].Unpack(bad_request)
    field: str = bad_request.field_violations[0].field
    return field


async def test_an_extractive_answer_is_quotes_and_says_so() -> None:
    async with served(GeneratorConfig(device="cpu")) as generator:
        deltas, finished = await generator.answer(request())
    first = deltas[0].quotes[0]
    assert first.text == "The reranker scores at most 200 candidates."
    assert deltas[0].text == f"{first.text} [1]"
    assert (first.passage_id, first.range.start, first.range.end) == ("p0", START, START + len(first.text))
    assert finished.reason == pb.FINISH_REASON_STOP
    assert finished.kind == pb.ANSWER_KIND_EXTRACTIVE
    assert finished.usage.prompt_tokens > finished.usage.output_tokens > 0
    stats = finished.stats
    assert (stats.stage, stats.replica, stats.model) == ("generator", "here:1", "embedded")
    assert stats.revision == checkpoint.EMBEDDED_SHA256[:12]
    assert stats.compute_ms > 0
    assert stats.tokens == finished.usage.prompt_tokens + finished.usage.output_tokens


async def test_a_cut_answer_says_so_and_a_dropped_passage_is_named() -> None:
    async with served(GeneratorConfig(device="cpu", max_prompt_tokens=64)) as generator:
        _, finished = await generator.answer(sampled(3, request("How many?", TEXT, TEXT * 3, TEXT * 2)))
    assert finished.reason == pb.FINISH_REASON_LENGTH
    assert finished.usage.output_tokens == 3
    assert list(finished.dropped_passage_ids) == ["p2", "p1"]


async def test_a_written_answer_streams_and_is_measured(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, min_new_tokens=20)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))
    async with served(settings) as generator:
        deltas, finished = await generator.answer(sampled(20))
        sample = generator.runtime.metrics.registry.get_sample_value
    assert len(deltas) > 1
    assert finished.kind == pb.ANSWER_KIND_GENERATED
    assert finished.reason == pb.FINISH_REASON_LENGTH
    assert finished.usage.output_tokens == 20
    assert sample("trivium_time_to_first_token_seconds_count") == 1
    assert sample("trivium_time_per_output_token_seconds_count") == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
async def test_a_writer_computes_in_the_dtype_that_it_is_told(dtype: Any, tmp_path: Path) -> None:
    seeded.save_bart(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path), dtype=dtype)
    async with served(settings) as generator:
        _, finished = await generator.answer(sampled(3))
        engine: Any = generator.service._engine
    assert engine._model.dtype == getattr(torch, dtype)
    assert finished.usage.output_tokens


async def test_a_cancelled_call_stops_the_work_and_frees_its_place(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=4_000)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path), max_rows=1)
    async with served(settings) as generator:
        runs = generator.stub.Generate(sampled(4_000))
        await runs.read()
        waits = generator.stub.Generate(sampled(4_000))
        await until(lambda: generator.queue.depth)
        waits.cancel()
        runs.cancel()
        await until(lambda: generator.queue.statistics["cancelled"] == 2)
        _, finished = await generator.answer(sampled(2))
    assert finished.usage.output_tokens == 2


async def test_a_short_answer_does_not_wait_for_a_long_one(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=4_000)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))
    async with served(settings) as generator:
        long = generator.stub.Generate(sampled(4_000))
        await long.read()
        answers = await asyncio.gather(*(generator.answer(sampled(5 + number)) for number in range(4)))
        assert not long.done()
        assert generator.queue.statistics["served"] == 4
        long.cancel()
    for number, (deltas, finished) in enumerate(answers):
        assert finished.usage.output_tokens == 5 + number
        assert finished.stats.batch_size > 1
        assert deltas


async def test_a_model_whose_positions_are_not_known_answers_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seeded.save_t5(tmp_path)
    monkeypatch.setattr("services.generator.positions.RELATIVE", frozenset())
    async with served(GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))) as generator:
        answers = await asyncio.gather(*(generator.answer(sampled(5)) for _ in range(3)))
    assert "answers are written one at a time" in caplog.text
    assert {finished.stats.batch_size for _, finished in answers} == {1}


async def test_a_call_that_is_not_read_is_cancelled_like_any_other(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=4_000)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))
    async with served(settings) as generator:
        unread = generator.stub.Generate(sampled(4_000))
        await asyncio.sleep(0.5)
        unread.cancel()
        await until(lambda: generator.queue.statistics["cancelled"] == 1)


def broken(change: Callable[[pb.GenerateRequest], object]) -> pb.GenerateRequest:
    asked = request("How many?", TEXT, TEXT)
    change(asked)
    return asked


INVALID: dict[str, tuple[pb.GenerateRequest, str]] = {
    "empty question": (request(""), "question"),
    "blank question": (request(" \n"), "question"),
    "long question": (request("a" * 8_193), "question"),
    "question that fills the prompt": (request("why so? " * 1_000), "question"),
    "no passages": (pb.GenerateRequest(question="How many?"), "passages"),
    "101 passages": (request("How many?", *[TEXT] * 101), "passages"),
    "empty id": (broken(lambda one: one.passages[1].ClearField("passage_id")), "passages[1].passage_id"),
    "empty text": (broken(lambda one: one.passages[1].ClearField("text")), "passages[1].text"),
    "same id twice": (broken(lambda one: setattr(one.passages[1], "passage_id", "p0")), "passages[1].passage_id"),
    "no tokens": (sampled(0), "sampling.max_output_tokens"),
    "too many tokens": (sampled(4_097), "sampling.max_output_tokens"),
}


async def test_every_wrong_field_is_named_and_harms_nobody() -> None:
    async with served(GeneratorConfig(device="cpu")) as generator:
        for name, (asked, field) in INVALID.items():
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await generator.answer(asked)
            assert field_of(raised.value) == field, name
        for texts in ([], ["a"] * 1_001):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await generator.stub.CountTokens(pb.CountTokensRequest(texts=texts))
            assert field_of(raised.value) == "texts"
        _, finished = await generator.answer(request())
        assert finished.reason == pb.FINISH_REASON_STOP


async def test_texts_are_counted_without_control_tokens() -> None:
    async with served(GeneratorConfig(device="cpu", max_prompt_tokens=777)) as generator:
        counted = await generator.stub.CountTokens(pb.CountTokensRequest(texts=["hello world", "", "[SEP]"]))
    assert list(counted.num_tokens) == [2, 0, 3]
    assert counted.max_prompt_tokens == 777


@pytest.mark.parametrize(
    ("engine", "model", "reason"),
    [
        ("seq2seq", "embedded", "cannot write"),
        ("rag-token", "embedded", "cannot write"),
        ("extractive", "nowhere", "nowhere"),
    ],
)
async def test_a_model_that_cannot_serve_is_a_refusal_to_start(engine: str, model: str, reason: str) -> None:
    settings = GeneratorConfig(device="cpu", engine=engine, model=model)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=reason):
        async with served(settings):
            pass


def scored(asked: pb.GenerateRequest, *scores: float) -> pb.GenerateRequest:
    asked.passage_scores.extend(scores)
    return asked


@pytest.mark.parametrize("engine", ["rag-sequence", "rag-token"])
async def test_rag_answers_with_what_each_passage_accounts_for(engine: Any, tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    settings = GeneratorConfig(device="cpu", engine=engine, model=str(tmp_path))
    texts = [TEXT, "Ships sail at six.", "A trace follows it: why?"]
    questions = [f"How many of {number} are scored?" for number in range(8)]
    requests = [sampled(8, scored(request(one, *texts), 3.5, 2.0, -1.0)) for one in questions]
    async with served(settings) as generator:
        alone = [await generator.answer(one) for one in requests]
        together = await asyncio.gather(*(generator.answer(one) for one in requests))
    written, batched = ([[delta.text for delta in deltas] for deltas, _ in answers] for answers in (alone, together))
    # In float32 a batch rounds otherwise, and now and then another word is next; in float64 it is exact.
    assert sum(one == other for one, other in zip(written, batched, strict=True)) >= len(questions) - 2
    for _, finished in [*alone, *together]:
        assert [one.passage_id for one in finished.passage_weights] == ["p0", "p1", "p2"]
        assert sum(one.weight for one in finished.passage_weights) == pytest.approx(1, abs=1e-5)
        assert finished.kind == pb.ANSWER_KIND_GENERATED
        assert finished.usage.output_tokens <= 8
    assert len({deltas[0].text for deltas, _ in alone if deltas}) > 1
    assert max(finished.stats.batch_size for _, finished in together) > 1


@pytest.mark.parametrize(
    ("engine", "stock"),
    [("rag-sequence", RagSequenceForGeneration), ("rag-token", RagTokenForGeneration)],
    ids=["sequence", "token"],
)
async def test_rag_over_grpc_says_what_transformers_says(engine: Any, stock: Any, tmp_path: Path) -> None:
    """One passage, so that a question's rows are of equal length: transformers' `rag-sequence` reads padding."""
    seeded.save_rag(tmp_path, n_docs=1)
    settings = GeneratorConfig(device="cpu", engine=engine, model=str(tmp_path))
    async with served(settings) as generator:
        deltas, finished = await generator.answer(sampled(8, scored(request(), 0.5)))
    model = stock.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "generator_tokenizer")
    row = tokenizer([f" / {TEXT} // how many candidates are scored?"], return_tensors="pt")
    assert finished.usage.prompt_tokens == row["input_ids"].shape[1]
    ids = model.generate(
        context_input_ids=row["input_ids"],
        context_attention_mask=row["attention_mask"],
        doc_scores=torch.tensor([[0.5]]),
        num_beams=4,
        max_length=9,
    )
    assert "".join(delta.text for delta in deltas) == tokenizer.decode(ids[0], skip_special_tokens=True)
    assert [(one.passage_id, one.weight) for one in finished.passage_weights] == [("p0", 1.0)]


async def test_scores_that_do_not_fit_the_passages_are_named(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="rag-token", model=str(tmp_path))
    async with served(settings) as generator:
        for asked, field in (
            (request("How many?", TEXT, TEXT), "passage_scores"),
            (scored(request("How many?", TEXT, TEXT), 1.0), "passage_scores"),
            (scored(request("How many?", TEXT, TEXT), 1.0, 2.0, 3.0), "passage_scores"),
            (scored(request("How many?", TEXT, TEXT), 1.0, math.nan), "passage_scores[1]"),
            (scored(request("How many?", TEXT, TEXT), math.inf, 1.0), "passage_scores[0]"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await generator.answer(asked)
            assert field_of(raised.value) == field


async def test_a_rag_caller_who_leaves_before_the_batch_costs_nothing(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="rag-sequence", model=str(tmp_path))
    async with served(settings) as generator:
        calls = [generator.stub.Generate(sampled(100, scored(request(), 1.0))) for _ in range(2)]
        await until(lambda: generator.queue.statistics["submitted"] == 2)
        calls[1].cancel()
        await until(lambda: generator.queue.statistics["cancelled"] == 1)
        _, finished = await generator.answer(sampled(2, scored(request(), 1.0)))
    assert finished.usage.output_tokens <= 2
