"""Memory that runs out loses nobody: the youngest are put back, read again, and write what they would have written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed, Overloaded, TooLarge
from services.generator.engine import PutBack, Sampling, Step
from services.generator.loop.room import Room
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.decoder import AnyDecoder
from services.generator.rows.row import Row
from services.generator.rows.row_flight import RowFlight
from tests import simulated_time
from tests.unit import random_models as models
from tests.unit import random_seq2seq
from tests.unit.pilots import RULES, Pilot, read_ids
from tests.unit.random_vocabulary import VOCABULARY
from tests.unit.real_loop import STEP_S, Loop, Request
from tests.unit.scarce_memory import Allocator, Scarce, is_empty

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = pytest.mark.usefixtures("one_thread")


def first_scores(decoder: AnyDecoder, rows: list[Row]) -> tuple[Any, torch.Tensor]:
    """Memory of all that the rows have, and the scores of what comes next."""
    memory, scores = decoder.read(rows)
    if scores is None:
        scores = decoder.go_on(memory, rows)
    memory.grow()
    return memory, scores


@pytest.mark.parametrize("family", [*random_seq2seq.MAKE, "llama", "gpt2", "mistral"])
@torch.inference_mode()
def test_tokens_that_are_read_together_are_those_that_were_read_one_by_one(family: str) -> None:
    """Rows that have written nothing, little and much, side by side."""
    random, flight = np.random.default_rng(0), models.fly(models.make(family))
    decoder = flight._decoder
    requests = models.random_requests(random, 4)
    rows = [Row(n, prompt, flight._open(prompt, sampling)) for n, (prompt, sampling) in enumerate(requests)]
    expected, keys = [], []
    for row, num_written in zip(rows, (0, 1, 5, 17), strict=True):
        memory, scores = first_scores(decoder, [row])
        for token_id in random.integers(3, VOCABULARY, num_written).tolist():
            row.token_ids = torch.cat([row.token_ids, torch.tensor([[token_id]])], dim=1)
            scores = decoder.go_on(memory, [row])
            memory.grow()
        expected.append(scores[0])
        keys.append(memory.tokens.layers[-1].keys[0])
    memory, scores = first_scores(decoder, rows)
    torch.testing.assert_close(scores, torch.stack(expected))
    for row_keys, of_row in zip(memory.tokens.layers[-1].keys, keys, strict=True):
        torch.testing.assert_close(row_keys[:, -of_row.shape[1] :], of_row)
    assert memory.lengths == [row.token_ids.shape[1] for row in rows]
    row_steps = decoder.go_on(memory, rows)
    assert row_steps.isfinite().all()


@pytest.mark.parametrize("family", ["t5", "bart", "llama", "gpt2"])
def test_who_joins_is_put_back_before_anybody_on_the_way(family: str) -> None:
    model = models.make(family, min_new_tokens=20)
    requests = [(models.prompt_of(5, 6 + number), Sampling(9)) for number in range(5)]
    pilot, outcomes = Pilot(models.fly(model)), dict[int, Any]()
    pilot.step(dict(enumerate(requests[:4])))
    pilot.step()
    # Its prompt is read by an encoder before the pass of all, and by the decoder itself after it.
    num_refused, put_back = (5, {4}) if model.config.is_encoder_decoder else (4, {2, 3, 4})
    with refusing_once(model, num_refused):
        outcomes |= pilot.flight.step({4: requests[4]}, [])
    assert {number for number, outcome in outcomes.items() if isinstance(outcome, PutBack)} == put_back
    assert {number for number, outcome in outcomes.items() if isinstance(outcome, Step)} == {0, 1, 2, 3} - put_back
    for number, outcome in outcomes.items():
        if isinstance(outcome, Step):
            pilot.texts[number] += outcome.text
    pilot.step({number: requests[number] for number in sorted(put_back)})
    pilot.until_landed()
    assert pilot.texts == {number: models.alone(model, prompt, 9) for number, (prompt, _) in enumerate(requests)}


@contextlib.contextmanager
def refusing_once(model: PreTrainedModel, num_rows: int) -> Iterator[None]:
    """No memory for the first pass of so many rows."""
    refusals = iter([torch.OutOfMemoryError()])

    def refuse(_: Any, arguments: Any, named: dict[str, Any]) -> None:
        if len(read_ids(arguments, named)) == num_rows:
            for refusal in refusals:
                raise refusal

    handle = model.get_decoder().register_forward_pre_hook(refuse, with_kwargs=True)
    yield
    handle.remove()


MAX_BYTES = {"t5": 30_000, "bart": 12_000}
"""Little more than the largest tensor of the largest row alone: T5's bias over 40 tokens."""


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_whoever_is_put_back_writes_what_generate_writes_for_it_alone(family: str, rules: str) -> None:
    model = models.make(family, min_new_tokens=15, **RULES[rules])
    requests = list(models.random_requests(np.random.default_rng(1), 24))
    expected = [models.alone(model, prompt, sampling.max_output_tokens) for prompt, sampling in requests]
    flight = Scarce(models.fly(model), Allocator(MAX_BYTES[family]))

    async def test() -> None:
        it = Loop(flight, Room(max_rows=8))
        it.loop.start()
        arrivals = np.random.default_rng(2).exponential(1.5 * STEP_S, len(requests)).cumsum()
        asked = (it.text(n, request, arrivals[n]) for n, request in enumerate(requests))
        assert await asyncio.gather(*asked) == expected
        assert it.num_tokens == {n: len(text.split()) for n, text in enumerate(expected)}
        await it.close()

    simulated_time.run(test())
    assert flight.num_put_back > 5
    assert is_empty(flight.flight)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_a_row_for_which_there_is_never_memory_fails_alone_and_can_be_told(family: str) -> None:
    model = models.make(family, min_new_tokens=30)
    large = (models.prompt_of(*range(3, 53)), Sampling(200))
    small = [request for request in models.random_requests(np.random.default_rng(3), 40) if _is_small(request)][:5]
    expected = [models.alone(model, prompt, sampling.max_output_tokens) for prompt, sampling in small]
    flight = Scarce(models.fly(model), Allocator(MAX_BYTES[family] // 2))

    async def test() -> None:
        it = Loop(flight, Room(max_rows=8))
        it.loop.start()
        asked = [it.text(n, request, 0.0) for n, request in enumerate([*small[:3], large, *small[3:]])]
        *written, told = await asyncio.gather(*asked[:3], *asked[4:], asked[3], return_exceptions=True)
        assert written == expected
        assert isinstance(told, TooLarge)
        assert "sampling.max_output_tokens" in str(told)
        await it.close()
        assert it.queue.statistics["failed"] == 1

    simulated_time.run(test())
    assert is_empty(flight.flight)


def _is_small(request: Request) -> bool:
    prompt, sampling = request
    return prompt.num_tokens < 20 and sampling.max_output_tokens < 20


@cache
def known(family: str) -> tuple[PreTrainedModel, list[TokenPrompt], list[str]]:
    """A model, prompts, and what it writes to each in at most 12 tokens."""
    model = models.make(family, **RULES["no-repeats"])
    prompts = [prompt for prompt, _ in models.random_requests(np.random.default_rng(7), 10)]
    return model, prompts, [models.alone(model, prompt, 12) for prompt in prompts]


REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 9),  # which prompt
        st.integers(1, 12),  # its greatest length
        st.integers(0, 40),  # when it comes, ms
        st.one_of(st.none(), st.integers(5, 300)),  # how long it has, ms
        st.one_of(st.none(), st.none(), st.integers(0, 200)),  # when its caller leaves, ms
    ),
    max_size=6,
)


class Whim:
    """Refuses memory to a layer now and then, as told, while anybody else could leave some."""

    def __init__(self, flight: Scarce[RowFlight], refusals: list[int]) -> None:
        self._flight = flight
        self._refusals = iter(refusals)
        self._rest = next(self._refusals, 0)

    def __call__(self, *_: Any) -> None:
        if self._flight.flight._is_alone:
            return
        self._rest -= 1
        if self._rest == 0:
            self._rest = next(self._refusals, 0)
            raise torch.OutOfMemoryError


@contextlib.contextmanager
def refusing(model: PreTrainedModel, whim: Whim) -> Iterator[None]:
    """At each layer that the model comes to."""
    stacks = (model.get_encoder(), model.get_decoder())
    layers = [layer for stack in stacks for layer in (stack.block if hasattr(stack, "block") else stack.layers)]
    handles = [layer.register_forward_pre_hook(whim) for layer in layers]
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", ["t5", "bart"])
@given(asked=REQUESTS, refusals=st.lists(st.integers(1, 20), max_size=12))
@settings(deadline=None, max_examples=8)
def test_nobody_is_lost_whoever_comes_and_leaves_and_whatever_memory_there_is(
    family: str, asked: list[tuple[int, int, int, int | None, int | None]], refusals: list[int]
) -> None:
    model, prompts, texts = known(family)
    flight = Scarce(models.fly(model), contextlib.nullcontext())

    async def ask(it: Loop, number: int) -> str:
        which, max_tokens, after_ms, has_ms, leaves_ms = asked[number]
        deadline = NEVER if has_ms is None else Deadline((after_ms + has_ms) / 1e3)
        text = it.text(number, (prompts[which], Sampling(max_tokens)), after_ms / 1e3, deadline)
        async with asyncio.timeout(None if leaves_ms is None else leaves_ms / 1e3):
            return await text

    async def test() -> None:
        it = Loop(flight, Room(max_rows=4, max_cache_tokens=240, max_prefill_tokens=80))
        it.loop.start()
        callers = (ask(it, number) for number in range(len(asked)))
        written = await asyncio.gather(*callers, return_exceptions=True)
        for (which, max_tokens, _, has_ms, leaves_ms), text in zip(asked, written, strict=True):
            if isinstance(text, DeadlinePassed):
                assert has_ms is not None
            elif isinstance(text, TimeoutError):
                assert leaves_ms is not None
            elif isinstance(text, Overloaded):
                assert any(has_ms is not None for _, _, _, has_ms, _ in asked)
            else:
                assert text == _beginning(texts[which], max_tokens)
        await it.close()

    with refusing(model, Whim(flight, refusals)):
        simulated_time.run(test())
    assert is_empty(flight.flight)


def _beginning(text: str, max_tokens: int) -> str:
    return "".join(f"{token} " for token in text.split()[:max_tokens])
