"""Every sampling rule is transformers' own, and a row's tokens are the same whoever is written beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, EncoderDecoderCache

from services.generator.engine import Passage, Sampling, Step
from services.generator.engines.seq2seq import Seq2Seq
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.choice import Choice, choose
from tests.unit import random_models as models
from tests.unit import seeded_generators as seeded
from tests.unit.pilots import Pilot, fly_at_random
from tests.unit.random_vocabulary import END

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = pytest.mark.usefixtures("one_thread")

MAX_TOKENS = 16
NUM_PROMPTS = 3
EARLY_END = {"t5": 20, "bart": 2}
"""A token that one of the greedy answers has early and the others never: it then has a length to be held to."""

RULES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature": {"temperature": 0.7},
    "temperature-1": {"temperature": 1.0},
    "hot": {"temperature": 2.0},
    "top-k": {"temperature": 1.5, "top_k": 3},
    "top-p": {"temperature": 1.5, "top_p": 0.6},
    "min-p": {"temperature": 1.5, "min_p": 0.2},
    "repetition-penalty": {"repetition_penalty": 4.0},
    "no-repeats": {"no_repeat_ngram_size": 1},
    "least-length": {"min_output_tokens": 12},
    "all": {
        **{"temperature": 1.3, "top_k": 30, "top_p": 0.95, "min_p": 0.01},
        **{"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_output_tokens": 9},
    },
}

FROM_THE_CHECKPOINT: dict[str, dict[str, Any]] = {
    "none": {},
    "some": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3, "min_length": 6, "temperature": 0.3, "top_k": 2},
}


def told(sampling: Sampling, **checkpoint: Any) -> dict[str, Any]:
    """The same in the words of `generate`."""
    options: dict[str, Any] = {"max_new_tokens": sampling.max_output_tokens, "do_sample": False}
    for name in ("repetition_penalty", "no_repeat_ngram_size"):
        options[name] = getattr(sampling, name) or checkpoint.get(name)
    options["min_length"] = 1 + sampling.min_output_tokens if sampling.min_output_tokens else checkpoint["min_length"]
    if sampling.temperature:
        options |= {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k or 0}
        options |= {"top_p": sampling.top_p or 1.0, "min_p": sampling.min_p}
    return options


def alone(model: PreTrainedModel, prompt: TokenPrompt, sampling: Sampling, **checkpoint: Any) -> str:
    """What the model's own `generate` writes with torch's own seed, as ids."""
    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)
    written = model.generate(
        torch.tensor([prompt.token_ids]),
        attention_mask=torch.ones(1, len(prompt.token_ids), dtype=torch.long),
        past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        **told(sampling, **{"min_length": 0, **checkpoint}),
    )
    return "".join(f"{token_id} " for token_id in written[0, 1:].tolist())


def sampled(rule: str, seed: int) -> Sampling:
    fields = RULES[rule]
    return Sampling(MAX_TOKENS, **fields, seed=seed if "temperature" in fields else None)


def prompts(number: int, seed: int = 5) -> list[TokenPrompt]:
    return [prompt for prompt, _ in models.random_requests(np.random.default_rng(seed), number)]


@pytest.mark.parametrize("checkpoint", FROM_THE_CHECKPOINT)
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_each_rule_is_that_of_generate_in_a_batch_of_all(family: str, checkpoint: str) -> None:
    own = FROM_THE_CHECKPOINT[checkpoint]
    model = models.make(family)
    model.generation_config.eos_token_id = [END, EARLY_END[family]]
    for name in ("repetition_penalty", "no_repeat_ngram_size", "min_length"):
        setattr(model.generation_config, name, own.get(name))
    asked = [(rule, prompt, seed) for rule in RULES for seed, prompt in enumerate(prompts(NUM_PROMPTS))]
    order = np.random.default_rng(8).permutation(len(asked)).tolist()
    requests = [(asked[place][1], sampled(asked[place][0], asked[place][2])) for place in order]
    expected = {number: alone(model, *request, **own) for number, request in enumerate(requests)}
    assert fly_at_random(model, requests, seed=9).texts == expected
    by_rule: dict[str, list[str]] = {rule: [""] * NUM_PROMPTS for rule in RULES}
    for number, place in enumerate(order):
        by_rule[asked[place][0]][asked[place][2]] = expected[number]
    unheeded = [rule for rule in RULES if rule != "greedy" and by_rule[rule] == by_rule["greedy"]]
    assert not unheeded or checkpoint == "some", f"these change nothing: {unheeded}"


@pytest.mark.parametrize("family", seeded.SAVE)
def test_one_at_a_time_every_step_is_that_of_the_flight(family: str, tmp_path: Path) -> None:
    """Text, log-probabilities and chance."""
    seeded.SAVE[family](tmp_path)
    engine = Seq2Seq(tmp_path, "cpu", 512, 400, dtype=torch.float64)
    flight = engine.flight()
    assert flight is not None
    prompt = engine.fit("why?", [Passage("1", "The reranker. 文档中的句子。 🙂" * 3)])
    requests = {
        number: (prompt, replace(sampled(rule, number), num_top_logprobs=number % 4 or None))
        for number, rule in enumerate(RULES)
    }
    steps: dict[int, list[Step]] = {number: [] for number in requests}
    outcomes = dict(flight.step(requests, []))
    while outcomes:
        for number, outcome in outcomes.items():
            assert isinstance(outcome, Step)
            steps[number].append(outcome)
        outcomes = dict(flight.step({}, []))
    for number, request in requests.items():
        expected = list(engine.generate(*request))
        assert [replace(step, tokens=()) for step in steps[number]] == [replace(one, tokens=()) for one in expected]
        for step, one in zip(steps[number], expected, strict=True):
            assert spelled(step) == spelled(one)
            assert logprobs(step) == pytest.approx(logprobs(one), abs=1e-5)


def spelled(step: Step) -> list[str]:
    return [one.token for token in step.tokens for one in (token.chosen, *token.top)]


def logprobs(step: Step) -> list[float]:
    return [one.logprob for token in step.tokens for one in (token.chosen, *token.top)]


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 1, 2**63, 2**64 - 1])
def test_every_seed_of_the_contract_is_torchs_own(seed: int) -> None:
    scores = torch.randn(1, 1_000, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(seed)
    expected = [int(torch.multinomial(scores.softmax(-1), 1)) for _ in range(5)]
    choice = Choice([], Sampling(1, temperature=1.0, seed=seed), torch.device("cpu"))
    assert drawn(choice, scores, 5) == expected
    assert len(set(expected)) > 1


def drawn(choice: Choice, scores: torch.Tensor, times: int) -> list[int]:
    numbers = []
    for _ in range(times):
        (chosen,) = choose([choice], [torch.zeros(1, 1, dtype=torch.long)], scores.clone())
        assert not isinstance(chosen, Exception)
        numbers.append(chosen.number)
    return numbers


def test_without_a_seed_each_request_draws_anew() -> None:
    scores = torch.zeros(1, 1_000)
    first, second = (drawn(Choice([], Sampling(1, temperature=1.0), scores.device), scores, 5) for _ in range(2))
    assert first != second


@pytest.mark.parametrize("temperature", [1e-21, 1e-300, 5e-324])
def test_a_temperature_next_to_zero_is_greedy(temperature: float) -> None:
    model, (prompt,) = models.make("t5"), prompts(1)
    pilot = Pilot(models.fly(model))
    pilot.step({0: (prompt, Sampling(MAX_TOKENS, temperature=temperature, seed=1))})
    pilot.until_landed()
    assert pilot.texts[0] == models.alone(model, prompt, MAX_TOKENS)


def test_a_penalty_next_to_zero_is_no_fault() -> None:
    model, (prompt,) = models.make("t5"), prompts(1)
    pilot = Pilot(models.fly(model))
    pilot.step({0: (prompt, Sampling(MAX_TOKENS, temperature=1.0, repetition_penalty=1e-300, seed=1))})
    pilot.until_landed()
    assert not pilot.errors
    assert pilot.texts[0]


def test_scores_that_are_no_numbers_fail_their_row_alone() -> None:
    choices = [Choice([], Sampling(1, temperature=1.0, seed=3), torch.device("cpu")) for _ in range(2)]
    scores = torch.zeros(2, 50)
    scores[0, 7] = torch.nan
    fault, chosen = choose(choices, [torch.zeros(1, 1, dtype=torch.long)] * 2, scores)
    assert isinstance(fault, ArithmeticError)
    assert not isinstance(chosen, Exception)


@pytest.mark.parametrize("family", seeded.SAVE)
def test_log_probabilities_are_those_before_any_rule(family: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path)
    engine = Seq2Seq(tmp_path, "cpu", 512, 400, dtype=torch.float64)
    model, tokenizer = engine._model, engine._tokenizer
    prompt = engine.fit("why?", [Passage("1", "The reranker.")])
    sampling = replace(sampled("all", 4), num_top_logprobs=3)
    tokens = [token for step in engine.generate(prompt, sampling) for token in step.tokens]
    written = [token.chosen.token_id for token in tokens]
    read = torch.tensor([[model.generation_config.decoder_start_token_id, *written[:-1]]])
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([prompt.token_ids]), decoder_input_ids=read).logits[0]
    expected = scores.float().log_softmax(dim=-1)
    for place, token in enumerate(tokens):
        likeliest = expected[place].topk(3)
        assert token.chosen.logprob == pytest.approx(float(expected[place, token.chosen.token_id]), abs=1e-4)
        assert [one.token_id for one in token.top] == likeliest.indices.tolist()
        assert [one.logprob for one in token.top] == pytest.approx(likeliest.values.tolist(), abs=1e-4)
        for one in (token.chosen, *token.top):
            assert one.token == tokenizer.convert_ids_to_tokens(one.token_id)
            assert one.logprob <= 0
    assert len(tokens) >= 9
    assert any(token.chosen != token.top[0] for token in tokens), "nothing was drawn or ruled out"


def test_no_log_probabilities_are_told_where_none_are_wanted(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    engine = Seq2Seq(tmp_path, "cpu", 512, 400)
    prompt = engine.fit("why?", [Passage("1", "The reranker.")])
    assert not any(step.tokens for step in engine.generate(prompt, Sampling(5)))
    steps = list(engine.generate(prompt, Sampling(5, num_top_logprobs=0)))
    assert [len(step.tokens) for step in steps] == [1] * len(steps)
    assert not any(token.top for step in steps for token in step.tokens)


@cache
def known(family: str) -> tuple[PreTrainedModel, list[TokenPrompt], list[str]]:
    """A model, prompts, and what is drawn for each with the seed of its number."""
    model, some = models.make(family), prompts(6, seed=11)
    return model, some, [alone(model, prompt, sampled("all", seed)) for seed, prompt in enumerate(some)]


EVENTS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["all", "greedy", "hot"])), max_size=3),
        st.sets(st.integers(0, 20), max_size=2),  # who leaves
    ),
    max_size=10,
)


@pytest.mark.parametrize("family", ["t5", "bart"])
@settings(max_examples=15, deadline=None)
@given(events=EVENTS)
def test_a_seeded_row_is_the_same_whoever_joins_and_leaves(family: str, events: list[Any]) -> None:
    model, some, texts = known(family)
    pilot, asked, gone = Pilot(models.fly(model)), dict[int, tuple[int, str]](), set[int]()
    for joining, leaving in events:
        newcomers = dict(enumerate(joining[: 8 - len(pilot.flying)], start=len(asked)))
        gone |= leaving & pilot.flying
        asked |= newcomers
        pilot.step(
            {number: (some[which], sampled(rule, which)) for number, (which, rule) in newcomers.items()},
            leaving & pilot.flying,
        )
    pilot.until_landed()
    assert not pilot.errors
    for number, (which, rule) in asked.items():
        if rule == "all":
            assert pilot.texts[number] == texts[which] or (
                number in gone and texts[which].startswith(pilot.texts[number])
            )
