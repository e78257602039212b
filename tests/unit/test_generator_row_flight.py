"""Answers that are written together are those that each would be alone, whoever joins and leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.generator.engine import Passage, Sampling, Step
from services.generator.prompt import TokenPrompt
from services.generator.seq2seq import Seq2Seq
from tests.unit import random_seq2seq as models
from tests.unit import seeded_generators as seeded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_ROWS = 8

RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-repeats": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 3},
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 1, "min_length": 12, "suppress_tokens": [9, 10]},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose by sharing their work."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


class Pilot:
    """Steps a flight and keeps what each answer has brought."""

    def __init__(self, flight: Any) -> None:
        self.flight = flight
        self.texts: dict[int, str] = {}
        self.errors: dict[int, Exception] = {}
        self.flying: set[int] = set()
        self.ended_at: dict[int, int] = {}
        self.num_steps = 0

    def step(
        self,
        joining: Mapping[int, tuple[TokenPrompt, Sampling]] | None = None,
        leaving: Collection[int] = (),
    ) -> None:
        self.num_steps += 1
        self.flying = (self.flying | set(joining or {})) - set(leaving)
        outcomes = self.flight.step(joining or {}, leaving)
        assert outcomes.keys() == self.flying
        for number, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                self.errors[number] = outcome
                self.flying.discard(number)
                continue
            assert isinstance(outcome, Step)
            self.texts[number] = self.texts.get(number, "") + outcome.text
            if outcome.finish:
                self.flying.discard(number)
                self.ended_at[number] = self.num_steps

    def until_landed(self) -> None:
        while self.flying:
            self.step()

    @property
    def shapes(self) -> tuple[int, int, int]:
        """Rows, columns of tokens and columns of prompts in the cache."""
        ((memory, _),) = self.flight._batches
        keys = memory.cache.self_attention_cache.layers[0].keys
        return keys.shape[0], keys.shape[2], memory.cache.cross_attention_cache.layers[0].keys.shape[2]


def fly_at_random(model: PreTrainedModel, requests: list[tuple[TokenPrompt, Sampling]], seed: int) -> Pilot:
    """Each joins at a random step, when there is a row."""
    random, pilot, waiting = np.random.default_rng(seed), Pilot(models.fly(model)), dict(enumerate(requests))
    while waiting or pilot.flying:
        num_joining = min(MAX_ROWS - len(pilot.flying), int(random.poisson(0.5)))
        pilot.step({number: waiting.pop(number) for number in list(waiting)[:num_joining]})
    return pilot


def assert_as_alone(family: str, rules: dict[str, Any], num_requests: int) -> None:
    model = models.make(family, **rules)
    requests = list(models.random_requests(np.random.default_rng(1), num_requests))
    expected = {
        number: models.alone(model, prompt, sampling.max_output_tokens)
        for number, (prompt, sampling) in enumerate(requests)
    }
    assert fly_at_random(model, requests, seed=2).texts == expected
    beginnings = {tuple(text.split()[:5]) for text in expected.values()}
    assert len(beginnings) > num_requests / 4, "it says the same whatever it reads"


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", ["t5", "bart", "t5 of deep decoder", "bart of other depths"])
def test_every_token_is_that_of_generate_alone(family: str, rules: str) -> None:
    assert_as_alone(family, RULES[rules], 32)


@pytest.mark.parametrize("family", models.MAKE)
def test_every_family_whose_positions_are_known_is_exact(family: str) -> None:
    assert_as_alone(family, {"min_new_tokens": 12}, 12)


@pytest.mark.parametrize("family", seeded.SAVE)
def test_every_step_is_that_of_the_engine_alone(family: str, tmp_path: Path) -> None:
    """Its text too: what a delta waits for, and where characters are broken."""
    seeded.SAVE[family](tmp_path)
    engine = Seq2Seq(tmp_path, "cpu", 512, 400, dtype=torch.float64)
    flight = engine.flight()
    assert flight is not None
    passage = Passage("1", "The reranker. 文档中的句子。 🙂" * 3)
    requests = {n: (engine.fit("why? " * n, [passage]), Sampling(4 * n)) for n in range(1, 9)}
    steps: dict[int, list[Step]] = {number: [] for number in requests}
    outcomes = dict(flight.step(requests, []))
    while outcomes:
        for number, outcome in outcomes.items():
            assert isinstance(outcome, Step)
            steps[number].append(outcome)
        outcomes = dict(flight.step({}, []))
    assert steps == {number: list(engine.generate(*request)) for number, request in requests.items()}


def test_a_stop_string_frees_the_row_while_the_model_would_go_on(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=40)
    engine = Seq2Seq(tmp_path, "cpu", 512, 400, dtype=torch.float64)
    flight = engine.flight()
    assert flight is not None
    prompt = engine.fit("why?", [Passage("1", "The reranker.")])
    text = "".join(step.text for step in engine.generate(prompt, Sampling(40)))
    stop = text[len(text) // 2 :][:3]
    pilot = Pilot(flight)
    pilot.step({0: (prompt, Sampling(40)), 1: (prompt, Sampling(40, min_output_tokens=0, stop=(stop,)))})
    pilot.until_landed()
    assert pilot.texts == {0: text, 1: text[: text.index(stop)]}
    assert pilot.ended_at[1] < pilot.ended_at[0] == 40


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_short_answer_ends_long_before_the_long_one_that_began_earlier(family: str) -> None:
    pilot = Pilot(models.fly(models.make(family, min_new_tokens=200)))
    pilot.step({0: (models.prompt_of(5, 6, 7), Sampling(200))})
    for _ in range(9):
        pilot.step()
    pilot.step({1: (models.prompt_of(8, 9), Sampling(5))})
    pilot.until_landed()
    assert pilot.ended_at == {1: 15, 0: 200}


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_who_leaves_takes_row_and_columns_along(family: str) -> None:
    model = models.make(family, min_new_tokens=50)
    pilot = Pilot(models.fly(model))
    pilot.step({0: (models.prompt_of(*range(3, 43)), Sampling(50))})
    for _ in range(9):
        pilot.step()
    pilot.step({1: (models.prompt_of(8, 9), Sampling(30)), 2: (models.prompt_of(5), Sampling(40))})
    pilot.step()
    assert pilot.shapes == (3, 12, 40)
    pilot.step(leaving={0})
    assert pilot.shapes == (2, 3, 2)
    pilot.step(leaving={1})
    assert pilot.shapes == (1, 4, 1)
    pilot.until_landed()
    assert pilot.texts[2] == models.alone(model, models.prompt_of(5), 40)


def test_an_idle_flight_keeps_no_cache() -> None:
    pilot = Pilot(models.fly(models.make("t5")))
    pilot.step({0: (models.prompt_of(5), Sampling(3))})
    pilot.until_landed()
    assert not pilot.flight._batches


def fail_at(module: torch.nn.Module, token_id: int) -> list[int]:
    """Let a module fail whenever it reads a token. Returns the numbers of rows it failed with, so far."""
    failures: list[int] = []

    def fail(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        token_ids = named["input_ids"]
        if (token_ids == token_id).any():
            failures.append(len(token_ids))
            raise ArithmeticError("cannot read this")

    module.register_forward_pre_hook(fail, with_kwargs=True)
    return failures


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_prompt_that_cannot_be_read_fails_alone(family: str) -> None:
    model = models.make(family)
    expected = models.alone(model, models.prompt_of(5, 6), 9)
    failures = fail_at(model.get_encoder(), 33)
    pilot = Pilot(models.fly(model))
    pilot.step({0: (models.prompt_of(5, 6), Sampling(9)), 1: (models.prompt_of(33), Sampling(9))})
    pilot.until_landed()
    assert failures == [2, 1]
    assert pilot.errors.keys() == {1}
    assert pilot.texts == {0: expected}


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("depth", [0, 1], ids=["before-the-first-layer", "between-layers"])
def test_a_row_that_fails_midway_fails_alone(family: str, depth: int) -> None:
    model = models.make(family, min_new_tokens=12)
    requests = list(models.random_requests(np.random.default_rng(3), 6))
    expected = {n: models.alone(model, prompt, 12) for n, (prompt, _) in enumerate(requests)}
    poison = int(expected[2].split()[4])
    fails = {n for n, text in expected.items() if str(poison) in text.split()[:-1]}
    failures: list[int] = []
    reading: list[torch.Tensor] = []
    model.get_decoder().register_forward_pre_hook(
        lambda _, arguments, named: reading.append(named["input_ids"]), with_kwargs=True
    )

    def fail(*_: Any) -> None:
        if (reading[-1] == poison).any():
            failures.append(len(reading[-1]))
            raise ArithmeticError("cannot go on")

    layers = model.get_decoder().block if family == "t5" else model.get_decoder().layers
    layers[depth].register_forward_pre_hook(fail)
    pilot = Pilot(models.fly(model))
    pilot.step({number: (prompt, Sampling(12)) for number, (prompt, _) in enumerate(requests)})
    pilot.until_landed()
    assert failures
    assert pilot.errors.keys() == fails
    assert 0 < len(fails) < len(requests)
    for number in expected.keys() - fails:
        assert pilot.texts[number] == expected[number]


def test_a_row_whose_rules_fail_fails_alone() -> None:
    model = models.make("bart", repetition_penalty=1.3)
    expected = models.alone(model, models.prompt_of(5, 6), 9)
    pilot = Pilot(models.fly(model))
    pilot.step({n: (models.prompt_of(5, 6), Sampling(9)) for n in range(2)})
    ((_, rows),) = pilot.flight._batches
    rows[1].rules.choice.processors.append(lambda *_: 1 / 0)
    pilot.until_landed()
    assert pilot.errors.keys() == {1}
    assert pilot.texts[0] == expected


@cache
def known(family: str) -> tuple[PreTrainedModel, list[TokenPrompt], list[str]]:
    """A model, prompts, and what it writes to each in at most 20 tokens."""
    model = models.make(family)
    prompts = [prompt for prompt, _ in models.random_requests(np.random.default_rng(7), 10)]
    return model, prompts, [models.alone(model, prompt, 20) for prompt in prompts]


EVENTS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20)), max_size=3),  # who joins, and its greatest length
        st.sets(st.integers(0, 20), max_size=2),  # who leaves
    ),
    max_size=25,
)


@pytest.mark.parametrize("family", ["t5", "bart"])
@settings(max_examples=40, deadline=None)
@given(events=EVENTS)
def test_whoever_joins_and_leaves_the_others_write_on(family: str, events: list[Any]) -> None:
    model, prompts, texts = known(family)
    pilot, asked, gone = Pilot(models.fly(model)), dict[int, tuple[int, int]](), set[int]()
    for joining, leaving in events:
        newcomers = dict(enumerate(joining[: MAX_ROWS - len(pilot.flying)], start=len(asked)))
        gone |= leaving & pilot.flying
        asked |= newcomers
        pilot.step(
            {number: (prompts[which], Sampling(length)) for number, (which, length) in newcomers.items()},
            leaving & pilot.flying,
        )
    pilot.until_landed()
    assert not pilot.errors
    for number, (which, length) in asked.items():
        whole = texts[which].split()[:length]
        written = pilot.texts[number].split()
        assert written == whole[: len(written)]
        assert number in gone or len(written) == len(whole)
