"""Beam search is transformers' own, advanced a step at a time beside whoever else is answered."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed
from chassis.pretrained import load_tokenizer
from services.generator.engine import NoMemory, PutBack, Sampling, Step
from services.generator.engines.seq2seq import Seq2Seq
from services.generator.loop.room import Room, Size
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.rows_and_searches import RowsAndSearches
from services.generator.rows.search import NAME
from tests import simulated_time
from tests.unit import seeded_generators as seeded
from tests.unit.real_loop import STEP_S, Loop
from tests.unit.scarce_memory import Allocator, Scarce

pytestmark = pytest.mark.usefixtures("one_thread")

MAX_TOKENS = 14

RULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "summaries": {
        **{"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "min_length": 6, "no_repeat_ngram_size": 2},
        **{"forced_bos_token_id": 7, "max_length": 9},
    },
    "short": {"num_beams": 2, "length_penalty": -2.0, "early_stopping": "never", "forced_eos_token_id": 1},
}


def load(path: Path) -> Seq2Seq:
    return Seq2Seq(path, "cpu", max_prompt_tokens=512, max_output_tokens=400, dtype=torch.float64)


def random_prompts(path: Path, number: int) -> list[TokenPrompt]:
    random = np.random.default_rng(0)
    size = len(load_tokenizer(path))
    rows = [random.integers(5, size, random.integers(2, 40)).tolist() for _ in range(number)]
    return [TokenPrompt(len(row), len(row), 0, (), tuple(row)) for row in rows]


def flight_of(engine: Seq2Seq) -> RowsAndSearches:
    flight = engine.flight()
    assert isinstance(flight, RowsAndSearches)
    return flight


def fly(flight: RowsAndSearches, requests: dict[int, tuple[TokenPrompt, Sampling]]) -> dict[int, list[Step]]:
    """One joins at every second step."""
    waiting, steps, num_steps = list(requests), dict[int, list[Step]](), 0
    flying: set[int] = set()
    while waiting or flying:
        joining = [waiting.pop(0)] if waiting and num_steps % 2 == 0 else []
        flying |= set(joining)
        outcomes = flight.step({number: requests[number] for number in joining}, [])
        assert outcomes.keys() == flying
        for number, outcome in outcomes.items():
            assert isinstance(outcome, Step)
            steps.setdefault(number, []).append(outcome)
            if outcome.finish:
                flying.discard(number)
        num_steps += 1
    return steps


@pytest.mark.parametrize("family", seeded.SAVE)
@pytest.mark.parametrize("rules", RULES)
def test_beams_are_those_of_generate_whoever_is_beside(family: str, rules: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, **RULES[rules])
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    tokenizer = load_tokenizer(tmp_path)
    prompts = random_prompts(tmp_path, 6)
    requests = {
        number: (prompt, Sampling(MAX_TOKENS - number, num_beams=1 + number % 4))
        for number, prompt in enumerate(prompts)
    }
    steps = fly(flight_of(load(tmp_path)), requests)
    texts = set()
    for number, (prompt, sampling) in requests.items():
        beams = {} if sampling.num_beams > 1 else {"length_penalty": 1.0, "early_stopping": False}
        expected = model.generate(
            torch.tensor([prompt.token_ids]),
            num_beams=sampling.num_beams,
            max_new_tokens=sampling.max_output_tokens,
            **beams,
        )[0, 1:]
        text = tokenizer.decode(expected, skip_special_tokens=True)
        assert "".join(step.text for step in steps[number]) == text
        assert sum(step.num_tokens for step in steps[number]) == len(expected)
        if sampling.num_beams > 1:
            assert not any(step.text for step in steps[number][:-1])
        texts.add(text)
    assert len(texts) == len(requests)


def test_what_the_request_says_goes_for_beams_too(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, min_length=3, no_repeat_ngram_size=3)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    (prompt,) = random_prompts(tmp_path, 1)
    asked: dict[str, Any] = {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1}
    *_, last = load(tmp_path).generate(prompt, Sampling(12, num_beams=3, min_output_tokens=10, **asked))
    expected = model.generate(torch.tensor([prompt.token_ids]), num_beams=3, max_new_tokens=12, min_length=11, **asked)
    assert last.text == load_tokenizer(tmp_path).decode(expected[0], skip_special_tokens=True)
    without = model.generate(torch.tensor([prompt.token_ids]), num_beams=3, max_new_tokens=12)
    assert expected.tolist() != without.tolist()


def test_a_search_takes_one_pass_of_the_decoder_a_step_and_leaves_torchs_modes_alone(tmp_path: Path) -> None:
    seeded.save_bart(tmp_path, min_new_tokens=9)
    engine = load(tmp_path)
    rows: list[int] = []
    engine._model.get_decoder().register_forward_pre_hook(
        lambda _, arguments, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    flight, prompts = flight_of(engine), random_prompts(tmp_path, 3)
    flight.step({n: (prompts[n], Sampling(9, num_beams=n + 1)) for n in range(3)}, [])
    assert rows == [1, 2, 3]
    for _ in range(4):
        rows.clear()
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        flight.step({}, [])
        assert rows == [1, 2, 3]


@pytest.fixture
def _only_what_comes() -> Iterator[None]:
    """What is there already is looked at no more: there is much of it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def held() -> tuple[int, int]:
    """Searches that have begun and not ended, and caches."""
    gc.collect()
    everything = gc.get_objects()
    searches = [thread for thread in threading.enumerate() if thread.name == NAME]
    return len(searches), sum(type(one) in (EncoderDecoderCache, DynamicCache) for one in everything)


@pytest.mark.usefixtures("_only_what_comes")
@pytest.mark.parametrize("family", seeded.SAVE)
def test_a_search_that_is_left_leaves_nothing(family: str, tmp_path: Path) -> None:
    seeded.SAVE[family](tmp_path, min_new_tokens=30)
    engine, (prompt, other) = load(tmp_path), random_prompts(tmp_path, 2)
    flight, before = flight_of(engine), held()
    flight.step({0: (prompt, Sampling(30, num_beams=4)), 1: (other, Sampling(30, num_beams=2))}, [])
    flight.step({}, [])
    searches, caches = held()
    assert (searches, caches > before[1]) == (2, True)
    assert flight.step({}, [0]).keys() == {1}
    assert held()[0] == 1
    assert not flight.step({}, [1])
    assert held() == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.usefixtures("_only_what_comes")
def test_a_search_that_fails_fails_alone(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=8)
    engine, prompts = load(tmp_path), random_prompts(tmp_path, 3)
    expected = {n: list(engine.generate(prompts[n], Sampling(8, num_beams=n + 1)))[-1].text for n in (1,)}
    row = "".join(step.text for step in engine.generate(prompts[0], Sampling(8)))

    def fail(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        if named["input_ids"].shape[0] == 3 and named["past_key_values"].get_seq_length() == 4:
            raise ArithmeticError("cannot go on")

    engine._model.get_decoder().register_forward_pre_hook(fail, with_kwargs=True)
    flight, before = flight_of(engine), held()
    outcomes: dict[int, list[Any]] = {n: [] for n in range(3)}
    joining = {n: (prompts[n], Sampling(8, num_beams=n + 1)) for n in range(3)}
    while step := flight.step(joining, []):
        joining = {}
        for number, outcome in step.items():
            outcomes[number].append(outcome)
    assert len(outcomes[2]) == 5
    assert isinstance(outcomes[2].pop(), ArithmeticError)  # its traceback holds what the search held
    assert outcomes[1][-1].text == expected[1]
    assert "".join(one.text for one in outcomes[0]) == row
    assert held() == before


def test_beams_take_rows() -> None:
    room = Room(max_rows=8, max_cache_tokens=8 * 30)
    row, beams = Size(10, 20), Size(10, 20, num_rows=5)
    assert room.fits(beams, [row] * 3, [])
    assert not room.fits(beams, [row] * 4, [])
    assert not room.fits(row, [beams], [row] * 3)
    assert not Room(8, max_cache_tokens=7 * 30).fits(beams, [row] * 3, [])
    assert room.fits(Size(10, 20, num_rows=16), [], [])


def test_a_row_without_memory_beside_a_search_waits_for_the_searchs(tmp_path: Path) -> None:
    seeded.save_t5(tmp_path)
    engine = load(tmp_path)
    torch.set_num_threads(1)
    flight = flight_of(engine)
    searched, written = random_prompts(tmp_path, 2)
    alone = list(engine.generate(written, Sampling(9)))
    flight.step({0: (searched, Sampling(9, num_beams=3))}, [])
    with Allocator(max_bytes=100):
        outcomes = flight.step({1: (written, Sampling(9))}, [])
    assert isinstance(outcomes[1], PutBack)
    outcomes = dict(flight.step({1: (written, Sampling(9))}, [0]))
    steps = []
    while outcomes:
        (step,) = outcomes.values()
        assert isinstance(step, Step)
        steps.append(step)
        outcomes = dict(flight.step({}, []))
    assert steps == alone
    with Allocator(max_bytes=100):
        outcomes = dict(flight.step({2: (written, Sampling(9))}, []))
    assert isinstance(outcomes[2], NoMemory), "nobody is left who could give memory back"


@pytest.mark.parametrize("num_beams", [1, 3], ids=["beside-a-row", "beside-a-search"])
def test_a_search_without_memory_waits_for_others_and_finds_what_it_would_have_found(
    num_beams: int, tmp_path: Path
) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=9)
    engine = load(tmp_path)
    flight = flight_of(engine)
    other, searched = random_prompts(tmp_path, 2)
    alone = list(engine.generate(searched, Sampling(9, num_beams=4)))
    flight.step({0: (other, Sampling(9, num_beams=num_beams)), 1: (searched, Sampling(9, num_beams=4))}, [])
    flight.step({}, [])
    with refusing(engine, num_beams=4):
        outcomes = flight.step({}, [])
    assert isinstance(outcomes[0], Step)
    assert isinstance(outcomes[1], PutBack)
    assert flight.step({}, []).keys() == {0}
    steps = [dict(flight.step({1: (searched, Sampling(9, num_beams=4))}, [0]))]
    while steps[-1]:
        steps.append(dict(flight.step({}, [])))
    assert [step[1] for step in steps[:-1]] == alone
    with refusing(engine, num_beams=4):
        outcomes = flight.step({2: (searched, Sampling(9, num_beams=4))}, [])
    assert isinstance(outcomes[2], NoMemory), "nobody is left who could give memory back"


@pytest.mark.parametrize("has_time", [True, False], ids=["with-time", "late"])
def test_a_search_that_was_put_back_waits_until_there_is_room_or_its_time_is_over(
    has_time: bool, tmp_path: Path
) -> None:
    seeded.save_t5(tmp_path, min_new_tokens=12)
    engine = load(tmp_path)
    torch.set_num_threads(1)
    other, searched = random_prompts(tmp_path, 2)
    row = "".join(step.text for step in engine.generate(other, Sampling(30)))
    *_, found = engine.generate(searched, Sampling(12, num_beams=4))
    flight = Scarce(flight_of(engine), contextlib.nullcontext())

    async def test() -> None:
        it = Loop(flight, Room(max_rows=9))
        it.loop.start()
        deadline = NEVER if has_time else Deadline(9 * STEP_S)
        asked = it.text(1, (searched, Sampling(12, num_beams=4)), after_s=2 * STEP_S, deadline=deadline)
        with refusing(engine, num_beams=4, passes={2}):
            written, told = await asyncio.gather(it.text(0, (other, Sampling(30)), 0.0), asked, return_exceptions=True)
        assert written == row
        if has_time:
            assert (told, it.num_tokens[1]) == (found.text, found.num_tokens)
        else:
            assert isinstance(told, DeadlinePassed)
        await it.close()

    simulated_time.run(test())
    assert flight.num_put_back == 1
    assert not flight.flight._searches.numbers


@contextlib.contextmanager
def refusing(engine: Seq2Seq, num_beams: int, passes: Collection[int] = range(1_000)) -> Iterator[None]:
    """No memory for a search of so many beams, in these of its passes."""
    numbers = itertools.count()

    def refuse(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        if len(named["input_ids"]) == num_beams and next(numbers) in passes:
            raise torch.OutOfMemoryError

    handle = engine._model.get_decoder().register_forward_pre_hook(refuse, with_kwargs=True)
    yield
    handle.remove()
