"""The greedy text of an engine is that of its model's own `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, T5Config, T5ForConditionalGeneration

from chassis.config import ConfigError
from chassis.pretrained import load_tokenizer
from services.generator.engine import Passage, Sampling, Step
from services.generator.engines.causal import Causal
from services.generator.engines.language_model import LanguageModel
from services.generator.engines.seq2seq import Seq2Seq
from services.generator.prompts.prompt import TokenPrompt
from tests.unit import seeded_generators as seeded

pytestmark = pytest.mark.usefixtures("one_thread")

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


FAMILIES = [*seeded.SAVE, *seeded.SAVE_CAUSAL]


def save(family: str, path: Path, **generation: Any) -> None:
    (seeded.SAVE | seeded.SAVE_CAUSAL)[family](path, **generation)


def load(family: str, path: Path, dtype: torch.dtype = torch.float64) -> LanguageModel:
    made = Causal if family in seeded.SAVE_CAUSAL else Seq2Seq
    engine = made(path, "cpu", max_prompt_tokens=512, max_output_tokens=400, dtype=dtype)
    torch.set_num_threads(1)  # models this small only lose by sharing their work
    return engine


def random_prompts(path: Path) -> list[TokenPrompt]:
    random = np.random.default_rng(0)
    size = len(load_tokenizer(path))
    rows = [random.integers(5, size, random.integers(2, 60)).tolist() for _ in range(NUM_PROMPTS)]
    return [TokenPrompt(len(row), len(row), 0, (), tuple(row)) for row in rows]


def num_read(family: str, prompt: TokenPrompt) -> int:
    """Tokens of the prompt that `generate` counts with those of the answer."""
    return len(prompt.token_ids) if family in seeded.SAVE_CAUSAL else 0


def text_of(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rules", RULES)
def test_the_text_is_that_of_generate(family: str, rules: str, tmp_path: Path) -> None:
    save(family, tmp_path, **RULES[rules])
    engine, tokenizer = load(family, tmp_path), load_tokenizer(tmp_path)
    model = engine._load_as.from_pretrained(tmp_path, dtype=torch.float64).eval()
    texts = set()
    for prompt in random_prompts(tmp_path):
        expected = model.generate(
            torch.tensor([prompt.token_ids]),
            num_beams=1,
            do_sample=False,
            max_new_tokens=MAX_TOKENS,
            early_stopping=False,
            length_penalty=1.0,
            min_length=min(model.generation_config.min_length or 0, MAX_TOKENS + num_read(family, prompt)),
            min_new_tokens=model.generation_config.min_new_tokens,
        )[0, num_read(family, prompt) or 1 :]
        steps = list(engine.generate(prompt, Sampling(MAX_TOKENS)))
        assert text_of(steps) == tokenizer.decode(expected, skip_special_tokens=True)
        assert sum(step.num_tokens for step in steps) == len(expected)
        texts.add(text_of(steps))
    assert len(texts) > NUM_PROMPTS / 2, "the model says the same whatever it reads: that compares nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_dtype_speaks_too(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    engine = load(family, tmp_path, torch.float32)
    prompt = engine.fit("who?", [Passage("1", "The reranker.")])
    steps = list(engine.generate(prompt, Sampling(5)))
    assert 1 <= len(steps) <= 5
    assert [step.finish is None for step in steps] == [True] * (len(steps) - 1) + [False]


def test_a_decoder_that_is_deeper_than_its_encoder_speaks_too(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    config = T5Config.from_pretrained(tmp_path, num_layers=1, num_decoder_layers=3)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert list(load("t5", tmp_path).generate(random_prompts(tmp_path)[0], Sampling(5)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_is_one_pass_through_the_decoder(family: str, tmp_path: Path) -> None:
    save(family, tmp_path, min_new_tokens=8)
    engine = load(family, tmp_path)
    decoder_passes: list[int] = []
    engine._model.get_decoder().register_forward_pre_hook(lambda *_: decoder_passes.append(1))
    steps = engine.generate(random_prompts(tmp_path)[0], Sampling(8))
    for number in range(1, 4):
        next(steps)
        assert len(decoder_passes) == number
    steps.close()
    assert len(decoder_passes) == 3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rules", ["plain", "forced"])
def test_a_text_that_was_cut_says_so(family: str, rules: str, tmp_path: Path) -> None:
    save(family, tmp_path, **{**RULES[rules], "min_new_tokens": 3})
    *_, last = load(family, tmp_path).generate(random_prompts(tmp_path)[0], Sampling(3))
    assert last.finish == "length"


def test_a_text_that_the_model_ended_says_so(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, forced_bos_token_id=2)
    *_, last = load("bart", tmp_path).generate(random_prompts(tmp_path)[0], Sampling(3))
    assert last.finish == "stop"


def test_prompt_and_answer_stay_within_the_positions_of_the_model(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, min_new_tokens=159)
    engine = load("bart", tmp_path)
    assert (engine.max_prompt_tokens, engine.max_output_tokens) == (160, 159)
    prompt = engine.fit("who?", [Passage("1", "A question travels. " * 200)])
    assert prompt.num_tokens == 160
    assert len(list(engine.generate(prompt, Sampling(4_096)))) == 159


@pytest.mark.parametrize(
    ("max_prompt_tokens", "max_output_tokens", "bounds"),
    [
        (2_048, 4_096, (500, 500)),
        (400, 4_096, (400, 600)),
        (2_048, 150, (850, 150)),
        (450, 550, (450, 550)),
        (750, 600, (500, 500)),
    ],
    ids=["halves", "short-prompts", "short-answers", "both-fit", "neither-fits"],
)
def test_prompt_and_answer_share_the_positions_of_a_decoder_only_model(
    max_prompt_tokens: int, max_output_tokens: int, bounds: tuple[int, int], tmp_path: Path
) -> None:
    seeded.save_gpt2(tmp_path, num_positions=1_000, min_new_tokens=1_000)
    engine = Causal(tmp_path, "cpu", max_prompt_tokens, max_output_tokens)
    torch.set_num_threads(1)
    assert (engine.max_prompt_tokens, engine.max_output_tokens) == bounds
    prompt = engine.fit("who?", [Passage("1", "A question travels. " * 200)])
    assert prompt.num_tokens == bounds[0]
    assert len(list(engine.generate(prompt, Sampling(4_096)))) == bounds[1]


def test_a_model_without_keys_and_values_answers_alone_as_generate_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seeded.save_gpt2(tmp_path)
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=len(load_tokenizer(tmp_path)), hidden_size=16, state_size=4, num_hidden_layers=2, eos_token_id=0
    )
    MambaForCausalLM(config).save_pretrained(tmp_path)
    engine, prompt = load("gpt2", tmp_path), random_prompts(tmp_path)[0]
    assert engine.flight() is None
    assert [vars(record)["reason"] for record in caplog.records] == ["no known positions: mamba"]
    steps = list(engine.generate(prompt, Sampling(MAX_TOKENS)))
    expected = engine._model.generate(torch.tensor([prompt.token_ids]), max_new_tokens=MAX_TOKENS)
    new = expected[0, len(prompt.token_ids) :]
    assert text_of(steps) == load_tokenizer(tmp_path).decode(new, skip_special_tokens=True)
    assert len(steps) == len(new)


@pytest.mark.parametrize("family", seeded.SAVE_CAUSAL)
def test_control_tokens_that_a_text_spells_stay_text(family: str, tmp_path: Path) -> None:
    save(family, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    spelt = "".join(tokenizer.all_special_tokens) + " ".join(tokenizer.all_special_tokens)
    engine, special = load(family, tmp_path), set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    prompts = [
        engine.fit(f"why {text}", [Passage("1", f"because {text}", title=text)]) for text in ("is it so?", spelt)
    ]
    harmless, spelling = ([one for one in prompt.token_ids if one in special] for prompt in prompts)
    assert spelling == harmless


def test_an_encoder_decoder_is_no_causal_model(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    with pytest.raises(ConfigError, match="no AutoModelForCausalLM"):
        Causal(tmp_path, "cpu", 512, 400)
