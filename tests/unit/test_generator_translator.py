"""The engine that writes with CTranslate2: what it writes, what it refuses, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from chassis.config import ConfigError
from services.generator.config import GeneratorConfig
from services.generator.engine import Answer, Asked, Passage, Sampling
from services.generator.engines.seq2seq import Seq2Seq
from services.generator.engines.translator import Translator
from services.generator.prompts.prompt import TokenPrompt
from tests.unit import seeded_generators as seeded
from tests.unit.test_generator_sampling_service import asked, refusal
from tests.unit.test_generator_service import Served, sampled, served, stopped, text_of, until
from trivium.v1 import generator_pb2 as pb

NUM_PROMPTS = 20
MAX_TOKENS = 12
LEAST_EQUAL = 0.9
"""In float32 two libraries round otherwise, and now and then another token is the likeliest."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def load(path: Path, **options: Any) -> Translator:
    return Translator(path, "cpu", 2_048, 400, **{"compute_type": "float32", **options})


def random_prompts(engine: Translator, number: int = NUM_PROMPTS) -> list[TokenPrompt]:
    chance = random.Random(1)
    words = " ".join(seeded.TEXTS).split()
    passages = [" ".join(chance.choices(words, k=chance.randrange(1, 12))) for _ in range(number)]
    return [engine.fit("who asks?", [Passage("1", text)]) for text in passages]


def expected(path: Path, prompts: list[TokenPrompt], **options: Any) -> list[list[int]]:
    """What transformers writes for each prompt alone, by the checkpoint's settings."""
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(path).eval()
    options = {"num_beams": 1, "do_sample": False, "max_new_tokens": MAX_TOKENS, **options}
    return [model.generate(torch.tensor([one.token_ids]), **options)[0, 1:].tolist() for one in prompts]


def told(engine: Translator, token_ids: list[int]) -> tuple[str, int]:
    text = engine._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text, len(token_ids)


def batched(engine: Translator, prompts: list[TokenPrompt], sampling: Sampling) -> list[Answer]:
    return engine.run(engine.prepare([Asked(one, sampling) for one in prompts]))


def require_equal(path: Path, sampling: Sampling, **options: Any) -> None:
    engine = load(path)
    prompts = random_prompts(engine)
    written = [(one.text, one.num_tokens) for one in batched(engine, prompts, sampling)]
    wanted = [told(engine, ids) for ids in expected(path, prompts, **options)]
    assert sum(one == other for one, other in zip(written, wanted, strict=True)) >= LEAST_EQUAL * NUM_PROMPTS
    assert len(set(wanted)) > NUM_PROMPTS // 5, "all prompts are answered alike"


SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "an end forced": {"forced_eos_token_id": 2},
    "no end forced": {"forced_eos_token_id": None},
    "a beginning forced": {"forced_bos_token_id": 40, "no_repeat_ngram_size": 3, "min_length": 9},
    "several ends": {"eos_token_id": [1, 2, 32, 101], "forced_eos_token_id": None},
    "some suppressed": {"suppress_tokens": list(range(30, 100)), "min_new_tokens": 7},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("family", seeded.SAVE)
def test_greedy_answers_are_those_of_transformers(family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, **settings)
    require_equal(tmp_path, Sampling(MAX_TOKENS))


@pytest.mark.parametrize("settings", [{}, {"length_penalty": 2.0, "forced_bos_token_id": 40}], ids=["plain", "ranked"])
@pytest.mark.parametrize("family", seeded.SAVE)
def test_searched_answers_are_those_of_transformers(family: str, settings: dict[str, Any], tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, num_beams=4, early_stopping=True, **settings)
    require_equal(tmp_path, Sampling(MAX_TOKENS, num_beams=4), num_beams=4)


@pytest.mark.parametrize(
    ("configuration", "family"),
    [(T5Config, T5ForConditionalGeneration), (MT5Config, MT5ForConditionalGeneration)],
    ids=["t5", "mt5"],
)
def test_states_that_are_not_scaled_are_not(configuration: Any, family: Any, tmp_path: Path) -> None:
    """As in T5 1.1, FLAN and mT5, which have more tokens than their tokenizers. Scores that are scaled rank beams
    otherwise."""
    tokenizer = seeded.t5_tokenizer()
    torch.manual_seed(0)
    config = configuration(
        vocab_size=len(tokenizer) + 7,
        **{"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "initializer_factor": 2.0},
        **{"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        **{"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    )
    assert not getattr(config, "scale_decoder_outputs", False)
    model = family(config)
    model.generation_config.num_beams, model.generation_config.early_stopping = 4, True
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    require_equal(tmp_path, Sampling(MAX_TOKENS))
    require_equal(tmp_path, Sampling(MAX_TOKENS, num_beams=4), num_beams=4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"forced_eos_token_id": 2}, {"forced_bos_token_id": 40}],
    ids=["as it is", "an end forced", "a beginning forced"],
)
@pytest.mark.parametrize("family", seeded.SAVE)
def test_each_question_of_a_batch_has_its_own_lengths_and_ends_as_seq2seq_says(
    family: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    seeded.SAVE[family](tmp_path, **settings)
    engine, exact = load(tmp_path), Seq2Seq(tmp_path, "cpu", 2_048, 400)
    samplings = [
        Sampling(1),
        Sampling(2),
        Sampling(30),
        Sampling(30, stop=("e", "a")),
        Sampling(9, min_output_tokens=9),
    ]
    questions = [Asked(one, sampling) for one in random_prompts(engine, 6) for sampling in samplings]
    random.Random(0).shuffle(questions)
    num_equal = 0
    for question, answer in zip(questions, engine.run(engine.prepare(questions)), strict=True):
        steps = list(exact.generate(question.prompt, question.sampling))
        wanted = "".join(step.text for step in steps), sum(step.num_tokens for step in steps), steps[-1].finish
        num_equal += (answer.text, answer.num_tokens, answer.finish) == wanted and answer.stop == steps[-1].stop
        assert answer.num_tokens <= question.sampling.max_output_tokens
    assert num_equal >= LEAST_EQUAL * len(questions)


class Watched:
    """CTranslate2's own translator, and how many tokens it wrote for each prompt that it was given at a time."""

    def __init__(self, translator: Any) -> None:
        self._translator = translator
        self.written: list[list[int]] = []

    def translate_batch(self, *arguments: Any, **options: Any) -> Any:
        results = self._translator.translate_batch(*arguments, **options)
        self.written.append([len(result.hypotheses[0]) for result in results])
        return results


@pytest.mark.parametrize(
    ("num_beams", "written"),
    [(1, [[3, 7, 3, 12, 7]]), (2, [[3, 3], [7, 7], [12]])],
    ids=["greedy ones at once", "searched ones by length"],
)
def test_answers_of_unequal_lengths_are_written_together_each_to_its_own(
    num_beams: int, written: list[list[int]], tmp_path: Path
) -> None:
    seeded.save_bart(tmp_path, suppress_tokens=[2], forced_eos_token_id=None)
    engine = load(tmp_path)
    watched = Watched(engine._model.translator)
    engine._model = dataclasses.replace(engine._model, translator=watched)
    lengths = [3, 7, 3, 12, 7]
    samplings = [Sampling(length, num_beams=num_beams) for length in lengths]
    questions = [Asked(*one) for one in zip(random_prompts(engine, len(lengths)), samplings, strict=True)]
    answers = engine.run(engine.prepare(questions))
    assert watched.written == written
    assert [answer.num_tokens for answer in answers] == lengths


def test_int8_is_another_model_of_the_same_kind(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    engine = load(tmp_path, compute_type="int8")
    for answer in batched(engine, random_prompts(engine), Sampling(MAX_TOKENS)):
        assert 1 <= answer.num_tokens <= MAX_TOKENS


def test_a_model_with_positions_bounds_prompts_and_answers(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path)
    engine = load(tmp_path)
    assert (engine.max_prompt_tokens, engine.max_output_tokens) == (160, 159)
    prompt = engine.fit("who?", [Passage("1", "a question travels " * 200)])
    assert prompt.num_tokens == 160
    (answer,) = batched(engine, [prompt], Sampling(4_096, min_output_tokens=4_096))
    assert (answer.num_tokens, answer.finish) == (159, "length")


@pytest.mark.parametrize(
    "settings",
    [
        *({"repetition_penalty": 1.2}, {"begin_suppress_tokens": [7]}, {"bad_words_ids": [[7, 8]]}),
        *(
            {"no_repeat_ngram_size": 1},
            {"encoder_no_repeat_ngram_size": 1},
            {"exponential_decay_length_penalty": (5, 2)},
        ),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_would_not_be_obeyed_are_refused_by_name(settings: dict[str, Any], tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, **settings)
    with pytest.raises(ConfigError, match=rf"say of {next(iter(settings))};"):
        load(tmp_path)


def test_settings_that_change_nothing_are_taken(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, repetition_penalty=1.0, num_beams=4, do_sample=True, temperature=0.7, top_p=0.9)
    load(tmp_path)


def test_a_model_that_is_not_known_is_refused(tmp_path: Path) -> None:
    seeded.save_llama(tmp_path)
    with pytest.raises(ConfigError):
        load(tmp_path)


def test_a_model_that_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, decoder_start_token_id=None)
    with pytest.raises(ConfigError, match="CTranslate2 cannot take the model"):
        load(tmp_path)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded.save_t5(tmp_path)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ConfigError, match="extra generator-ctranslate2"):
        load(tmp_path)


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, scratch = tmp_path / "model", tmp_path / "scratch"
    scratch.mkdir()
    seeded.save_t5(model)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = scratch.stat().st_mtime_ns
    engine = load(model)
    assert scratch.stat().st_mtime_ns > before, "the model was converted elsewhere"
    assert not list(scratch.iterdir())
    assert batched(engine, random_prompts(engine, 1), Sampling(3))


@pytest.fixture
def settings(tmp_path: Path) -> GeneratorConfig:
    seeded.save_bart(tmp_path, forced_eos_token_id=None)
    return GeneratorConfig(device="cpu", engine="ctranslate2", model=str(tmp_path), compute_type="float32")


@contextlib.asynccontextmanager
async def held_device(generator: Served) -> AsyncIterator[None]:
    """Nothing is computed meanwhile."""
    is_free = threading.Event()
    holding = asyncio.create_task(generator.runtime.on_device(is_free.wait, 10))
    try:
        yield
    finally:
        is_free.set()
    assert await holding, "the device was held for 10 s"


async def test_answers_come_in_one_piece_and_share_batches(settings: GeneratorConfig) -> None:
    async with served(settings) as generator:
        async with held_device(generator):
            calls = [asyncio.create_task(generator.answer(sampled(8)))]
            await until(lambda: generator.queue.statistics["submitted"] == 1 and not generator.queue.depth)
            calls += [asyncio.create_task(generator.answer(sampled(8))) for _ in range(5)]
            await until(lambda: generator.queue.statistics["submitted"] == 6)
        answers = await asyncio.gather(*calls)
    for deltas, finished in answers:
        assert len(deltas) == 1
        assert finished.kind == pb.ANSWER_KIND_GENERATED
        assert finished.prompt_template == "question-context-1"
        assert finished.usage.output_tokens <= 8
        assert not finished.passage_weights
    assert len({text_of(deltas) for deltas, _ in answers}) == 1
    assert [finished.stats.batch_size for _, finished in answers] == [1, 5, 5, 5, 5, 5]


async def test_a_stop_string_ends_the_text_and_is_told(settings: GeneratorConfig) -> None:
    async with served(settings) as generator:
        whole = text_of((await generator.answer(sampled(30)))[0])
        stop = whole[len(whole) // 2 :][:2]
        deltas, finished = await generator.answer(stopped(stop))
    assert text_of(deltas) == whole[: whole.index(stop)]
    assert (finished.stop, finished.reason) == (stop, pb.FINISH_REASON_STOP)


async def test_what_it_cannot_obey_is_refused_by_name(settings: GeneratorConfig) -> None:
    async with served(settings) as generator:
        for fields in (
            *({"temperature": 0}, {"temperature": 1, "seed": 1}, {"repetition_penalty": 1}),
            *({"no_repeat_ngram_size": 0}, {"num_top_logprobs": 0}),
        ):
            assert await refusal(generator, asked(**fields)) == f"sampling.{next(iter(fields))}"
        _, finished = await generator.answer(asked(max_output_tokens=5, min_output_tokens=5, num_beams=3))
    assert finished.usage.output_tokens == 5


async def test_a_caller_who_leaves_before_the_batch_costs_nothing(settings: GeneratorConfig) -> None:
    async with served(settings) as generator:
        async with held_device(generator):
            first = asyncio.create_task(generator.answer(sampled(5)))
            await until(lambda: generator.queue.statistics["submitted"] == 1)
            left, stays = generator.stub.Generate(sampled(5)), asyncio.create_task(generator.answer(sampled(5)))
            await until(lambda: generator.queue.statistics["submitted"] == 3)
            left.cancel()
            await until(lambda: generator.queue.statistics["cancelled"] == 1)
        batches = [(await answer)[1].stats.batch_size for answer in (first, stays)]
    assert batches == [1, 1]
