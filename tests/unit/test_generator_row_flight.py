"""Answers that are written together are those that each would be alone, whoever joins and leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from services.generator.engine import Passage, Sampling, Step
from services.generator.engines.causal import Causal
from services.generator.engines.seq2seq import Seq2Seq
from tests.unit import random_models as models
from tests.unit import random_seq2seq
from tests.unit import seeded_generators as seeded
from tests.unit.pilots import EVENTS, RULES, Pilot, assert_as_alone, assert_others_write_on, fail_at, read_ids

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES = ["t5", "bart", "llama", "gpt2"]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", ["t5", "bart", "t5 of deep decoder", "bart of other depths"])
def test_every_token_is_that_of_generate_alone(family: str, rules: str) -> None:
    assert_as_alone(family, RULES[rules], 32)


@pytest.mark.parametrize("family", random_seq2seq.MAKE)
def test_every_family_whose_positions_are_known_is_exact(family: str) -> None:
    assert_as_alone(family, {"min_new_tokens": 12}, 12)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_step_is_that_of_the_engine_alone(family: str, tmp_path: Path) -> None:
    """Its text too: what a delta waits for, and where characters are broken."""
    (seeded.SAVE | seeded.SAVE_CAUSAL)[family](tmp_path)
    load = Causal if family in seeded.SAVE_CAUSAL else Seq2Seq
    engine = load(tmp_path, "cpu", 512, 400, dtype=torch.float64)
    torch.set_num_threads(1)
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


@pytest.mark.parametrize("family", FAMILIES)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_that_cannot_be_read_fails_alone(family: str) -> None:
    model = models.make(family)
    expected = models.alone(model, models.prompt_of(5, 6), 9)
    failures = fail_at(model.get_encoder() if model.config.is_encoder_decoder else model.get_decoder(), 33)
    pilot = Pilot(models.fly(model))
    pilot.step({0: (models.prompt_of(5, 6), Sampling(9)), 1: (models.prompt_of(33), Sampling(9))})
    pilot.until_landed()
    assert failures == [2, 1]
    assert pilot.errors.keys() == {1}
    assert pilot.texts == {0: expected}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [0, 1], ids=["before-the-first-layer", "between-layers"])
def test_a_row_that_fails_midway_fails_alone(family: str, depth: int) -> None:
    model = models.make(family, min_new_tokens=12)
    requests = list(models.random_requests(np.random.default_rng(3), 6))
    expected = {n: models.alone(model, prompt, 12) for n, (prompt, _) in enumerate(requests)}
    poison = int(expected[2].split()[4])
    read = {n: expected[n].split()[:-1] for n in expected}
    if not model.config.is_encoder_decoder:
        read = {n: [*map(str, prompt.token_ids), *read[n]] for n, (prompt, _) in enumerate(requests)}
    fails = {n for n in read if str(poison) in read[n]}
    failures: list[int] = []
    reading: list[torch.Tensor] = []
    model.get_decoder().register_forward_pre_hook(
        lambda _, arguments, named: reading.append(read_ids(arguments, named)), with_kwargs=True
    )

    def fail(*_: Any) -> None:
        if (reading[-1] == poison).any():
            failures.append(len(reading[-1]))
            raise ArithmeticError("cannot go on")

    layers = {"t5": "block", "gpt2": "h"}.get(family, "layers")
    model.get_decoder().get_submodule(f"{layers}.{depth}").register_forward_pre_hook(fail)
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


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(events=EVENTS)
def test_whoever_joins_and_leaves_the_others_write_on(family: str, events: list[Any]) -> None:
    assert_others_write_on(family, events)
