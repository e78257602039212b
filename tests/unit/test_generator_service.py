"""The generator over a real server on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import torch
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from transformers import AutoModelForCausalLM, AutoTokenizer, RagSequenceForGeneration, RagTokenForGeneration

from chassis import attributes, checkpoint
from chassis.config import ConfigError
from chassis.device import Device
from chassis.interceptors import ServerInterceptor
from chassis.metrics import FINISHED_REASONS, Metrics
from chassis.queue import Queue
from chassis.runtime import Runtime
from services.generator.config import GeneratorConfig
from services.generator.engine import Passage
from services.generator.engines.seq2seq import Seq2Seq
from services.generator.loop.flyer import Generation
from services.generator.rows.row_flight import RowFlight
from services.generator.service import GeneratorService
from tests.unit import seeded_generators as seeded
from trivium.v1 import generator_pb2 as pb
from trivium.v1 import generator_pb2_grpc, passage_pb2

TEXT = "The reranker scores at most 200 candidates. Coffee is brewed at noon. Ships sail at six."
START = 70
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 128), ("grpc.http2.bdp_probe", 0)]
"""Of a client that has nothing sent to it but what it reads."""

if TYPE_CHECKING:  # in the stubs' stubs only
    Stub = generator_pb2_grpc.GeneratorServiceAsyncStub


async def until(is_so: Callable[[], object]) -> None:
    for _ in range(500):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 5 s in vain")


class Served:
    def __init__(
        self, stub: Stub, address: str, runtime: Runtime, queue: Queue[Generation], service: GeneratorService
    ) -> None:
        self.stub, self.address, self.runtime, self.queue, self.service = stub, address, runtime, queue, service

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
            stub = generator_pb2_grpc.GeneratorServiceStub(channel)
            yield Served(stub, f"127.0.0.1:{port}", runtime, queue, service)
    finally:
        await server.stop(0)
        await service.stop()
        runtime.close()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Those of calls."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("chassis.interceptors.tracer", provider.get_tracer("test"))
    return exporter


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


def stopped(*stop: str, max_output_tokens: int = 30) -> pb.GenerateRequest:
    asked = sampled(max_output_tokens)
    asked.sampling.stop.extend(stop)
    return asked


def text_of(deltas: Iterable[pb.TextDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def num_finished(generator: Served) -> dict[str, float]:
    """Answers by why they ended."""
    read = generator.runtime.metrics.registry.get_sample_value
    counts = {one: read("trivium_answers_finished_total", {"reason": one}) for one in FINISHED_REASONS}
    assert None not in counts.values(), "a series is not there"
    return {reason: count for reason, count in counts.items() if count}


def field_of(error: grpc.aio.AioRpcError) -> str:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    bad_request = error_details_pb2.BadRequest()
    status_pb2.Status.FromString(details).details[0].Unpack(bad_request)
    field: str = bad_request.field_violations[0].field
    return field


async def test_an_extractive_answer_is_quotes_and_says_so() -> None:
    async with served(GeneratorConfig(device="cpu")) as generator:
        asked = request()
        asked.sampling.stop.append("reranker")
        deltas, finished = await generator.answer(asked)
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
    stats = finished.stats
    assert stats.time_to_first_token_ms > stats.queue_ms
    assert 0 < stats.time_per_output_token_ms * 19 < stats.compute_ms


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


@pytest.mark.parametrize(
    ("engine", "save", "longest"),
    [
        ("seq2seq", seeded.save_t5, 4_000),
        ("causal", seeded.save_llama, 1_000),
        ("causal", seeded.save_gpt2, 1_000),
    ],
    ids=["t5", "llama", "gpt2"],
)
async def test_a_short_answer_does_not_wait_for_a_long_one(
    engine: Any, save: Callable[..., None], longest: int, tmp_path: Path
) -> None:
    save(tmp_path, min_new_tokens=longest)
    settings = GeneratorConfig(device="cpu", engine=engine, model=str(tmp_path), max_output_tokens=longest)
    async with served(settings) as generator:
        long = generator.stub.Generate(sampled(longest))
        await long.read()
        answers = await asyncio.gather(*(generator.answer(sampled(5 + number)) for number in range(4)))
        assert not long.done()
        assert generator.queue.statistics["served"] == 4
        long.cancel()
    for number, (deltas, finished) in enumerate(answers):
        assert finished.usage.output_tokens == 5 + number
        assert finished.stats.batch_size > 1
        assert deltas


async def test_the_cache_is_bounded_by_memory_and_shown(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path)  # 160 positions
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path), max_rows=4)
    async with served(settings) as generator:
        sample = generator.runtime.metrics.registry.get_sample_value
        assert sample("trivium_cache_tokens_limit") == 4 * (160 + 159), "this machine has memory for all that could be"
        await generator.answer(sampled(2))
        assert sample("trivium_cache_tokens_reserved") == 0
        assert sample("trivium_answers_put_back_total") == 0


async def test_a_request_that_could_never_have_room_is_refused_for_good(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path), max_cache_tokens=150)
    async with served(settings) as generator:
        with pytest.raises(grpc.aio.AioRpcError, match=r"98 .* 100: .* 150 .*sampling\.max_output_tokens") as raised:
            await generator.answer(sampled(100))
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not _details(raised.value), "waiting does not help"
        _, finished = await generator.answer(sampled(5))
    assert finished.usage.output_tokens <= 5


def _details(error: grpc.aio.AioRpcError) -> list[Any]:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    return list(status_pb2.Status.FromString(details).details) if details else []


async def test_a_cancelled_causal_answer_frees_its_row(tmp_path: Path) -> None:
    seeded.save_llama(tmp_path, min_new_tokens=1_000)
    settings = GeneratorConfig(device="cpu", engine="causal", model=str(tmp_path), max_rows=1, max_output_tokens=1_000)
    async with served(settings) as generator:
        runs = generator.stub.Generate(sampled(1_000))
        await runs.read()
        runs.cancel()
        _, finished = await generator.answer(sampled(2))
        assert generator.queue.statistics["cancelled"] == 1
    assert finished.usage.output_tokens == 2


@pytest.mark.parametrize("save", seeded.SAVE_CAUSAL.values(), ids=seeded.SAVE_CAUSAL)
async def test_causal_answers_over_grpc_are_those_of_generate(save: Callable[..., None], tmp_path: Path) -> None:
    save(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="causal", model=str(tmp_path), dtype="float32")
    async with served(settings) as generator:
        requests = [sampled(12, request(f"Which {n} of many?", "Ships sail at six.")) for n in range(8)]
        answers = await asyncio.gather(*(generator.answer(one) for one in requests))
        engine = generator.service._engine
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    num_equal = 0
    for number, (deltas, finished) in enumerate(answers):
        prompt = engine.fit(f"Which {number} of many?", [Passage("p0", "Ships sail at six.")])
        token_ids = torch.tensor([prompt.token_ids])
        written = model.generate(token_ids, attention_mask=torch.ones_like(token_ids), max_new_tokens=12)
        text = tokenizer.decode(written[0, len(prompt.token_ids) :], skip_special_tokens=True)
        num_equal += "".join(delta.text for delta in deltas) == text
        assert finished.usage.prompt_tokens == len(prompt.token_ids)
        assert finished.usage.output_tokens <= 12
    # In float32 a batch rounds otherwise, and now and then another word is next; in float64 it is exact.
    assert num_equal >= len(answers) - 2
    assert max(finished.stats.batch_size for _, finished in answers) > 1


@pytest.mark.parametrize(
    ("engine", "save", "known"),
    [("seq2seq", seeded.save_t5, "RELATIVE"), ("causal", seeded.save_llama, "EACH")],
    ids=["seq2seq", "causal"],
)
async def test_a_model_whose_positions_are_not_known_answers_one_at_a_time(
    engine: Any,
    save: Callable[[Path], None],
    known: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    save(tmp_path)
    monkeypatch.setattr(f"services.generator.rows.positions.{known}", frozenset())
    async with served(GeneratorConfig(device="cpu", engine=engine, model=str(tmp_path))) as generator:
        answers = await asyncio.gather(*(generator.answer(sampled(5)) for _ in range(3)))
    assert "answers are written one at a time" in caplog.text
    assert {finished.stats.batch_size for _, finished in answers} == {1}


@pytest.mark.parametrize(("family", "together"), [("t5", True), ("bart", False)], ids=["in flight", "one at a time"])
async def test_a_stop_string_ends_the_answer_and_is_not_in_it(
    family: str, together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded.SAVE[family](tmp_path, eos_token_id=None, forced_eos_token_id=None)  # long enough, whatever it writes
    if not together:
        monkeypatch.setattr(Seq2Seq, "flight", lambda _: None)
    async with served(GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))) as generator:
        deltas, unstopped = await generator.answer(sampled(30))
        text = text_of(deltas)
        stop = text[10:18]
        assert not any(stop in delta.text for delta in deltas), "it is to lie across tokens"
        cut, finished = await generator.answer(stopped("never", stop))
        uncut, other = await generator.answer(stopped("never"))
    assert text_of(cut) == text[: text.index(stop)]
    assert (finished.reason, finished.stop) == (pb.FINISH_REASON_STOP, stop)
    assert finished.usage.output_tokens < unstopped.usage.output_tokens
    assert (text_of(uncut), other.HasField("stop"), other.reason) == (text, False, unstopped.reason)


async def test_how_answers_ended_is_counted_and_told_to_the_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spans: InMemorySpanExporter
) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=4_000)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))
    async with served(settings) as generator:
        assert num_finished(generator) == {}
        with pytest.raises(grpc.aio.AioRpcError) as late:
            [one async for one in generator.stub.Generate(sampled(1_000), timeout=0.5)]
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: num_finished(generator) == {"deadline": 1})
        cancelled = generator.stub.Generate(sampled(400))
        await cancelled.read()
        cancelled.cancel()
        await until(lambda: num_finished(generator) == {"deadline": 1, "cancelled": 1})
        await generator.answer(sampled(5))
        with pytest.raises(grpc.aio.AioRpcError):
            await generator.answer(sampled(0))
        monkeypatch.setattr(RowFlight, "step", lambda *_: 1 / 0)
        with pytest.raises(grpc.aio.AioRpcError):
            await generator.answer(sampled(5))
        await until(lambda: len(spans.get_finished_spans()) == 5)
        assert num_finished(generator) == {"length": 1, "cancelled": 1, "deadline": 1, "failed": 1}
    told: list[dict[str, Any]] = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert [one.get("gen_ai.response.finish_reasons") for one in told] == [
        ("deadline",), ("cancelled",), ("length",), None, ("failed",),
    ]  # fmt: skip
    assert told[2][attributes.TIME_PER_OUTPUT_TOKEN_MS] > 0
    assert told[2][attributes.TIME_TO_FIRST_TOKEN_MS] > told[2][attributes.QUEUE_MS]


async def test_a_slow_reader_delays_nobody_and_catches_up_in_few_messages(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=4_000)
    settings = GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))
    async with served(settings) as generator, grpc.aio.insecure_channel(generator.address, SMALL_WINDOW) as channel:
        slow = generator_pb2_grpc.GeneratorServiceStub(channel).Generate(sampled(150), timeout=60)
        read: list[Any] = [await slow.read()]
        *deltas, last = [one async for one in generator.stub.Generate(sampled(150), timeout=60)]
        await until(lambda: generator.queue.statistics["served"] == 2)  # both: the row did not pause
        while not read[-1].HasField("finished"):
            read.append(await slow.read())
    assert text_of(one.delta for one in read) == text_of(one.delta for one in deltas)
    assert len(deltas) > 75
    assert len(read) < len(deltas) / 2
    assert read[-1].finished.usage == last.finished.usage
    assert read[-1].finished.stats.batch_size == 2


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
    "17 stop strings": (stopped(*"abcdefghijklmnopq"), "sampling.stop"),
    "empty stop string": (stopped("a", "b", "c", ""), "sampling.stop[3]"),
    "long stop string": (stopped("a", "b" * 257), "sampling.stop[1]"),
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


async def test_a_template_that_leaves_no_room_is_a_refusal_to_start(tmp_path: Path) -> None:
    seeded.save_llama(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="causal", model=str(tmp_path), max_prompt_tokens=64)
    with pytest.raises(ConfigError, match="GENERATOR_MAX_PROMPT_TOKENS"):
        async with served(settings):
            pass


@pytest.mark.parametrize(
    ("engine", "model", "reason"),
    [
        ("seq2seq", "embedded", "cannot write"),
        ("rag-token", "embedded", "cannot write"),
        ("causal", "embedded", "cannot write"),
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


async def test_scores_that_do_not_fit_the_passages_and_stop_strings_are_named(tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    settings = GeneratorConfig(device="cpu", engine="rag-token", model=str(tmp_path))
    async with served(settings) as generator:
        for asked, field in (
            (request("How many?", TEXT, TEXT), "passage_scores"),
            (scored(request("How many?", TEXT, TEXT), 1.0), "passage_scores"),
            (scored(request("How many?", TEXT, TEXT), 1.0, 2.0, 3.0), "passage_scores"),
            (scored(request("How many?", TEXT, TEXT), 1.0, math.nan), "passage_scores[1]"),
            (scored(request("How many?", TEXT, TEXT), math.inf, 1.0), "passage_scores[0]"),
            (scored(stopped("END"), 1.0), "sampling.stop"),
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
