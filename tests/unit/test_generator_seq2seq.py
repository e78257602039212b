"""The greedy text of BART and T5 is that of the model's own `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from chassis.pretrained import load_tokenizer
from services.generator.engine import Passage, Sampling, Step
from services.generator.prompt import TokenPrompt
from services.generator.seq2seq import Seq2Seq
from tests.unit import seeded_generators as seeded

NUM_PROMPTS = 20
MAX_TOKENS = 24

RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 1},
    "no-repeats": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "least-length": {"min_length": 12, "suppress_tokens": [9, 10]},
    "least-new": {"min_new_tokens": 20, "begin_suppress_tokens": [20]},
    "summaries": {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "max_length": 9},
    "longer-than-asked": {"min_length": 56, "no_repeat_ngram_size": 3},
}


def load(path: Path, dtype: torch.dtype = torch.float64) -> Seq2Seq:
    return Seq2Seq(path, "cpu", max_prompt_tokens=512, max_output_tokens=400, dtype=dtype)


def random_prompts(path: Path) -> list[TokenPrompt]:
    random = np.random.default_rng(0)
    size = len(load_tokenizer(path))
    rows = [random.integers(5, size, random.integers(2, 60)).tolist() for _ in range(NUM_PROMPTS)]
    return [TokenPrompt(len(row), len(row), 0, (), tuple(row)) for row in rows]


def text_of(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose by sharing their work."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.mark.parametrize("family", seeded.SAVE)
@pytest.mark.parametrize("rules", RULES)
def test_the_text_is_that_of_generate(family: str, rules: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, **RULES[rules])
    engine, tokenizer = load(tmp_path), load_tokenizer(tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    texts = set()
    for prompt in random_prompts(tmp_path):
        expected = model.generate(
            torch.tensor([prompt.token_ids]),
            num_beams=1,
            do_sample=False,
            max_new_tokens=MAX_TOKENS,
            early_stopping=False,
            length_penalty=1.0,
            min_length=min(model.generation_config.min_length or 0, MAX_TOKENS),
            min_new_tokens=model.generation_config.min_new_tokens,
        )[0, 1:]
        steps = list(engine.generate(prompt, Sampling(MAX_TOKENS)))
        assert text_of(steps) == tokenizer.decode(expected, skip_special_tokens=True)
        assert sum(step.num_tokens for step in steps) == len(expected)
        texts.add(text_of(steps))
    assert len(texts) > NUM_PROMPTS / 2, "the model says the same whatever it reads: that compares nothing"


@pytest.mark.parametrize("family", seeded.SAVE)
def test_the_default_dtype_speaks_too(family: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path)
    engine = Seq2Seq(tmp_path, "cpu", max_prompt_tokens=512, max_output_tokens=400)
    prompt = engine.fit("who?", [Passage("1", "The reranker.")])
    steps = list(engine.generate(prompt, Sampling(5)))
    assert 1 <= len(steps) <= 5
    assert [step.finish is None for step in steps] == [True] * (len(steps) - 1) + [False]


def test_a_decoder_that_is_deeper_than_its_encoder_speaks_too(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    config = T5Config.from_pretrained(tmp_path, num_layers=1, num_decoder_layers=3)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert list(load(tmp_path).generate(random_prompts(tmp_path)[0], Sampling(5)))


@pytest.mark.parametrize("family", seeded.SAVE)
def test_every_step_is_one_pass_through_the_decoder(family: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, min_new_tokens=8)
    engine = load(tmp_path)
    decoder_passes: list[int] = []
    engine._model.get_decoder().register_forward_pre_hook(lambda *_: decoder_passes.append(1))
    steps = engine.generate(random_prompts(tmp_path)[0], Sampling(8))
    for number in range(1, 4):
        next(steps)
        assert len(decoder_passes) == number
    steps.close()
    assert len(decoder_passes) == 3


@pytest.mark.parametrize("family", seeded.SAVE)
@pytest.mark.parametrize("rules", ["plain", "forced"])
def test_a_text_that_was_cut_says_so(family: str, rules: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, **{**RULES[rules], "min_new_tokens": 3})
    *_, last = load(tmp_path).generate(random_prompts(tmp_path)[0], Sampling(3))
    assert last.finish == "length"


def test_a_text_that_the_model_ended_says_so(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, forced_bos_token_id=2)
    *_, last = load(tmp_path).generate(random_prompts(tmp_path)[0], Sampling(3))
    assert last.finish == "stop"


def test_prompt_and_answer_stay_within_the_positions_of_the_model(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, min_new_tokens=159)
    engine = load(tmp_path)
    assert (engine.max_prompt_tokens, engine.max_output_tokens) == (160, 159)
    prompt = engine.fit("who?", [Passage("1", "A question travels. " * 200)])
    assert prompt.num_tokens == 160
    assert len(list(engine.generate(prompt, Sampling(4_096)))) == 159
