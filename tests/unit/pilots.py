"""Who flies a real flight, and what must come of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hypothesis import strategies as st

from services.generator.engine import Sampling, Step
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.memory import CrossMemory
from tests.unit import random_models as models

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_ROWS = 8

RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-repeats": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 3},
    "forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 1, "min_length": 12, "suppress_tokens": [9, 10]},
}


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
    def shapes(self) -> tuple[int, ...]:
        """Rows and columns of tokens in the cache, and columns of prompts where those have a cache of their own."""
        ((memory, _),) = self.flight._batches
        keys = memory.tokens.layers[0].keys
        prompts = [memory.prompts.layers[0].keys.shape[2]] if isinstance(memory, CrossMemory) else []
        return keys.shape[0], keys.shape[2], *prompts


def fly_at_random(
    model: PreTrainedModel, requests: list[tuple[TokenPrompt, Sampling]], seed: int, most_at_once: int = MAX_ROWS
) -> Pilot:
    """Each joins at a random step, when there is a row."""
    random, pilot, waiting = np.random.default_rng(seed), Pilot(models.fly(model)), dict(enumerate(requests))
    while waiting or pilot.flying:
        num_joining = min(MAX_ROWS - len(pilot.flying), int(random.poisson(0.5)), most_at_once)
        pilot.step({number: waiting.pop(number) for number in list(waiting)[:num_joining]})
    return pilot


def assert_as_alone(family: str, rules: dict[str, Any], num_requests: int, most_at_once: int = MAX_ROWS) -> None:
    model = models.make(family, **rules)
    requests = list(models.random_requests(np.random.default_rng(1), num_requests))
    expected = {
        number: models.alone(model, prompt, sampling.max_output_tokens)
        for number, (prompt, sampling) in enumerate(requests)
    }
    assert fly_at_random(model, requests, seed=2, most_at_once=most_at_once).texts == expected
    beginnings = {tuple(text.split()[:5]) for text in expected.values()}
    assert len(beginnings) > num_requests / 4, "it says the same whatever it reads"


def read_ids(arguments: Any, named: dict[str, Any]) -> torch.Tensor:
    """What a module is called to read."""
    token_ids: torch.Tensor = named["input_ids"] if "input_ids" in named else arguments[0]
    return token_ids


def fail_at(module: torch.nn.Module, token_id: int) -> list[int]:
    """Let a module fail whenever it reads a token. Returns the numbers of rows it failed with, so far."""
    failures: list[int] = []

    def fail(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        token_ids = read_ids(arguments, named)
        if (token_ids == token_id).any():
            failures.append(len(token_ids))
            raise ArithmeticError("cannot read this")

    module.register_forward_pre_hook(fail, with_kwargs=True)
    return failures


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


def assert_others_write_on(family: str, events: list[Any]) -> None:
    """Whoever joins and leaves."""
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
