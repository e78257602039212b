"""The decoding loop over a flight of several rows: who joins when, who leaves when, and that everybody hears."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from typing import Any

import numpy as np
import pytest

from chassis.cost_model import CostModel
from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed, Overloaded, Unavailable
from chassis.executor import SingleThread
from chassis.queue import Queue
from services.generator.engine import Flight, Prompt, Sampling, Step
from services.generator.loop.decoding import DecodingLoop
from services.generator.loop.flyer import Ended, Generation
from services.generator.loop.room import Room, Size
from services.generator.rows.row_flight import Outcome, RowFlight
from tests import simulated_time
from tests.unit import random_models as models

STEP_S = 0.01


def prompt_of(num_tokens: int) -> Prompt:
    return Prompt(num_tokens, num_tokens, 0, ())


FAULT = prompt_of(7)
"""Fails at its third step."""


class Counting:
    """A flight in which every answer counts: "1 2 3 …". Remembers who was in each step."""

    def __init__(self) -> None:
        self.steps: list[set[int]] = []
        self.joined: list[int] = []
        """How many, by step."""
        self.is_broken = False
        self._flying: dict[int, tuple[Prompt, Sampling, int]] = {}

    def step(
        self, joining: Mapping[int, tuple[Prompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Step | Exception]:
        for number in leaving:
            self._flying.pop(number, None)
        self._flying |= {number: (*asked, 0) for number, asked in joining.items()}
        self.steps.append(set(self._flying))
        self.joined.append(len(joining))
        if self.is_broken:
            raise MemoryError("no answer's own fault")
        return {number: self._count(number) for number in list(self._flying)}

    def _count(self, number: int) -> Step | Exception:
        prompt, sampling, count = self._flying.pop(number)
        if prompt is FAULT and count == 2:
            return ArithmeticError("cannot count on")
        if count + 1 == sampling.max_output_tokens:
            return Step(f"{count + 1} ", num_tokens=1, finish="length")
        self._flying[number] = prompt, sampling, count + 1
        return Step(f"{count + 1} ", num_tokens=1)


class Running:
    """A loop in simulated time, whose every step takes 10 ms."""

    def __init__(self, flight: Flight[Any], room: Room, cost_model: CostModel | None = None) -> None:
        self.device = simulated_time.SimulatedExecutor(lambda *_: STEP_S)
        self.queue: Queue[Generation] = Queue(
            clock=simulated_time.now, cost_model=cost_model or CostModel(), max_entries=100, max_skips=8
        )
        self.loop = DecodingLoop(flight, self.queue, self.device.run, room)

    async def text(self, num_tokens: int, deadline: Deadline = NEVER, prompt: Prompt | None = None) -> str:
        events = self.loop.answer(prompt or prompt_of(3), Sampling(num_tokens), deadline)
        return "".join([event.text async for event in events if isinstance(event, Step)])

    def ask(self, num_tokens: int, deadline: Deadline = NEVER, prompt: Prompt | None = None) -> asyncio.Task[str]:
        return asyncio.create_task(self.text(num_tokens, deadline, prompt))


@contextlib.asynccontextmanager
async def running(
    flight: Flight[Any], room: Room = Room(max_rows=3), cost_model: CostModel | None = None
) -> AsyncIterator[Running]:
    one = Running(flight, room, cost_model)
    one.loop.start()
    try:
        yield one
    finally:
        await one.loop.close()
        statistics = one.queue.statistics
        assert statistics["submitted"] == statistics.total() - statistics["submitted"], "somebody never heard"


def simulated(test: Coroutine[Any, Any, None]) -> None:
    simulated_time.run(test)


def test_who_comes_later_joins_at_the_next_step() -> None:
    async def test() -> None:
        flight = Counting()
        async with running(flight) as it:
            long = it.ask(100)
            await asyncio.sleep(10.5 * STEP_S)
            assert await it.text(3) == "1 2 3 "
            assert len(flight.steps) == 14
            assert not long.done()
            assert len((await long).split()) == 100
        assert len(flight.steps) == 100

    simulated(test())


def test_an_answer_tells_how_many_were_written_beside_it() -> None:
    async def test() -> None:
        async with running(Counting()) as it:
            others = [it.ask(20) for _ in range(2)]
            events = [event async for event in it.loop.answer(prompt_of(3), Sampling(20), NEVER)]
            await asyncio.gather(*others)
        assert isinstance(events[-1], Ended)
        assert events[-1].stats.batch_size == 3
        assert events[-1].stats.num_tokens == 23

    simulated(test())


def test_a_cancelled_answer_frees_its_row_at_the_next_step() -> None:
    async def test() -> None:
        flight = Counting()
        async with running(flight, Room(max_rows=2)) as it:
            kept, cancelled = it.ask(50), it.ask(50)
            await asyncio.sleep(5.5 * STEP_S)
            waits = it.ask(5)
            await asyncio.sleep(5 * STEP_S)
            assert it.queue.depth == 1
            num_steps = len(flight.steps)
            cancelled.cancel()
            assert await waits == "1 2 3 4 5 "
            # The step that was running, then five with the newcomer in the row that was free.
            assert len(flight.steps) == num_steps + 1 + 5
            assert all(len(step) == 2 for step in flight.steps[1:])
            assert len((await kept).split()) == 50
            assert it.queue.statistics["cancelled"] == 1

    simulated(test())


def test_an_expired_answer_frees_its_row_at_the_next_step() -> None:
    async def test() -> None:
        flight = Counting()
        async with running(flight, Room(max_rows=2)) as it:
            kept = it.ask(50)
            with pytest.raises(DeadlinePassed):
                await it.text(50, Deadline(5.5 * STEP_S))
            assert len((await kept).split()) == 50
        assert [len(step) for step in flight.steps[:8]] == [1, 2, 2, 2, 2, 2, 1, 1]
        assert it.queue.statistics["expired"] == 1

    simulated(test())


def test_an_answer_that_fails_fails_alone() -> None:
    async def test() -> None:
        async with running(Counting()) as it:
            fault, speech = it.ask(9, prompt=FAULT), it.ask(9)
            with pytest.raises(ArithmeticError):
                await fault
            assert await speech == "1 2 3 4 5 6 7 8 9 "
            assert it.queue.statistics["failed"] == 1

    simulated(test())


def test_a_flight_that_breaks_fails_all_who_fly_and_nobody_after_them() -> None:
    async def test() -> None:
        flight = Counting()
        async with running(flight) as it:
            flying = [it.ask(50) for _ in range(3)]
            waits = it.ask(4)
            await asyncio.sleep(5.5 * STEP_S)
            flight.is_broken = True
            for caller in flying:
                with pytest.raises(MemoryError):
                    await caller
            flight.is_broken = False
            assert await waits == "1 2 3 4 "
            assert len(flight.steps[-1]) == 1

    simulated(test())


def test_the_nearest_deadline_gets_the_next_row() -> None:
    async def test() -> None:
        async with running(Counting(), Room(max_rows=2)) as it:
            flying = [it.ask(20), it.ask(20)]
            await asyncio.sleep(2.5 * STEP_S)
            ended: list[str] = []
            asked = {"patient": it.ask(9, Deadline(60)), "urgent": it.ask(9, Deadline(30)), "calm": it.ask(9)}
            for name, task in asked.items():
                task.add_done_callback(lambda _, name=name: ended.append(name))  # type: ignore[misc]
            flying[0].cancel()
            await asyncio.wait(asked.values())
            assert ended == ["urgent", "patient", "calm"]

    simulated(test())


def test_closing_fails_what_waits_and_lets_all_who_fly_end() -> None:
    async def test() -> None:
        async with running(Counting(), Room(max_rows=2)) as it:
            flying, waits = [it.ask(20), it.ask(25)], it.ask(5)
            await asyncio.sleep(5.5 * STEP_S)
            await it.loop.close()
            assert [len((await one).split()) for one in flying] == [20, 25]
            with pytest.raises(Unavailable):
                await waits

    simulated(test())


def test_a_loop_that_dies_leaves_nobody_waiting() -> None:
    async def test() -> None:
        async with running(Counting(), Room(max_rows=2)) as it:
            asked = [it.ask(50) for _ in range(4)]
            await asyncio.sleep(5.5 * STEP_S)
            assert it.loop._task is not None
            it.loop._task.cancel()
            for caller in [*asked, it.ask(1)]:
                with pytest.raises(Unavailable):
                    await caller

    simulated(test())


def test_no_more_fly_than_there_is_room_for_and_nobody_passes_the_first() -> None:
    async def test() -> None:
        flight = Counting()
        room = Room(max_rows=8, max_cache_tokens=120)
        async with running(flight, room) as it:
            first = it.ask(20, prompt=prompt_of(20))  # 40
            large = it.ask(50, prompt=prompt_of(20))  # with it 2 × 70
            small = it.ask(5, prompt=prompt_of(5))
            await asyncio.gather(first, large, small)
        assert [len(step) for step in flight.steps] == [1] * 75

    simulated(test())


def test_few_prompts_are_read_in_one_step() -> None:
    async def test() -> None:
        flight = Counting()
        async with running(flight, Room(max_rows=8, max_prefill_tokens=25)) as it:
            await asyncio.gather(*(it.ask(10, prompt=prompt_of(10)) for _ in range(5)))
        assert flight.joined[:4] == [2, 2, 1, 0]

    simulated(test())


@pytest.mark.parametrize(
    ("newcomer", "flying", "joining", "fits"),
    [
        (Size(900, 900), [], [], True),
        (Size(10, 10), [Size(10, 10)] * 3, [], True),
        (Size(10, 10), [Size(10, 10)] * 4, [], False),
        (Size(10, 15), [Size(15, 10)] * 3, [], False),
        (Size(10, 10), [], [Size(20, 10)], False),
        (Size(39, 1), [Size(1, 1)], [], True),
    ],
    ids=["alone, whatever its size", "last row", "no row", "padded", "read together", "read alone"],
)
def test_room(newcomer: Size, flying: list[Size], joining: list[Size], fits: bool) -> None:
    assert Room(max_rows=4, max_cache_tokens=100, max_prefill_tokens=30).fits(newcomer, flying, joining) is fits


def test_a_short_question_is_let_in_beside_long_answers() -> None:
    """One after the other, they would all be done long after its deadline."""

    async def test() -> None:
        async with running(Counting(), Room(max_rows=4)) as it:
            await asyncio.gather(*(it.ask(200) for _ in range(4)))  # 2 s, from which the costs are learnt
            long = [it.ask(200) for _ in range(3)]
            await asyncio.sleep(2.5 * STEP_S)
            assert await it.text(10, Deadline(simulated_time.now() + 0.5)) == "1 2 3 4 5 6 7 8 9 10 "
            assert not any(one.done() for one in long)
            await asyncio.gather(*long)

    simulated(test())


def test_what_cannot_be_in_time_is_refused_at_once() -> None:
    async def test() -> None:
        async with running(Counting(), Room(max_rows=2)) as it:
            await asyncio.gather(*(it.ask(100) for _ in range(6)))
            waiting = [it.ask(100) for _ in range(10)]  # 5 s
            await asyncio.sleep(2.5 * STEP_S)
            with pytest.raises(Overloaded) as refused:
                await it.text(100, Deadline(simulated_time.now() + 1.2))
            assert 4 < refused.value.retry_after_s < 6
            await asyncio.gather(*waiting)

    simulated(test())


class Watched:
    """A real flight that remembers on which threads it was."""

    def __init__(self, flight: RowFlight) -> None:
        self._flight = flight
        self.threads: set[int] = set()

    def step(self, joining: Mapping[int, Any], leaving: Collection[int]) -> Mapping[int, Outcome]:
        self.threads.add(threading.get_ident())
        return self._flight.step(joining, leaving)


@pytest.mark.parametrize("family", ["t5", "llama", "gpt2"])
async def test_a_real_model_writes_for_many_on_the_thread_of_the_device(family: str) -> None:
    """32 callers, of whom some leave: the others read what `generate` writes for each alone."""
    model = models.make(family, min_new_tokens=10)
    requests = list(models.random_requests(np.random.default_rng(5), 32))
    expected = [models.alone(model, prompt, sampling.max_output_tokens) for prompt, sampling in requests]
    flight, device = Watched(models.fly(model)), SingleThread("test-device")
    queue: Queue[Generation] = Queue(clock=time.monotonic, cost_model=CostModel(), max_entries=100, max_skips=8)
    loop = DecodingLoop(flight, queue, device.run, Room(max_rows=8))
    loop.start()

    async def read(number: int) -> str:
        await asyncio.sleep(0.002 * number)
        events = loop.answer(*requests[number], NEVER)
        return "".join([event.text async for event in events if isinstance(event, Step)])

    try:
        tasks = [asyncio.create_task(read(number)) for number in range(32)]
        await asyncio.sleep(0.05)
        for task in tasks[::7]:
            task.cancel()
        written = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await loop.close()
        device.close()
    for text, whole in zip(written, expected, strict=True):
        assert text == whole or isinstance(text, asyncio.CancelledError)
    assert queue.statistics["served"] >= 27
    assert flight.threads.isdisjoint({threading.get_ident()})
    assert len(flight.threads) == 1
