"""The decoding loop when memory runs out: who waits, who goes on first, and that everybody hears."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.cost_model import CostModel
from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed, Overloaded, TooLarge, Unavailable
from chassis.metrics import Metrics
from chassis.queue import Queue
from services.generator.engine import Flight, NoMemory, Prompt, PutBack, Sampling, Step
from services.generator.loop.decoding import DecodingLoop
from services.generator.loop.flyer import Ended, Generation
from services.generator.loop.room import Room
from tests import simulated_time

STEP_S = 0.01


def prompt_of(num_tokens: int) -> Prompt:
    return Prompt(num_tokens, num_tokens, 0, ())


class Tight:
    """A flight in which every answer counts: "1 2 3 …". Where more fly than there is memory for, the youngest are put
    back and remembered."""

    def __init__(self, max_flying: Callable[[], int]) -> None:
        self.steps: list[list[int]] = []
        """Who got a token, by step."""
        self._max_flying = max_flying
        self._flying: dict[int, tuple[int, int]] = {}
        """What each has counted to, and how far it goes, in the order in which they joined."""
        self._waiting: dict[int, tuple[int, int]] = {}

    @property
    def is_empty(self) -> bool:
        return not self._flying and not self._waiting

    def step(
        self, joining: Mapping[int, tuple[Prompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Step | PutBack | Exception]:
        for number in leaving:
            assert self._flying.pop(number, None) or self._waiting.pop(number, None)
        for number, (_, sampling) in joining.items():
            self._flying[number] = self._waiting.pop(number, (0, sampling.max_output_tokens))
        num_flying = self._max_flying()
        if len(self._flying) == 1 and num_flying == 0:
            return {self._flying.popitem()[0]: NoMemory()}
        outcomes: dict[int, Step | PutBack | Exception] = {}
        while len(self._flying) > num_flying:
            number, progress = self._flying.popitem()
            self._waiting[number], outcomes[number] = progress, PutBack()
        self.steps.append(list(self._flying))
        return outcomes | {number: self._count(number) for number in list(self._flying)}

    def _count(self, number: int) -> Step:
        count, last = self._flying[number]
        self._flying[number] = count + 1, last
        if count + 1 < last:
            return Step(f"{count + 1} ", num_tokens=1)
        del self._flying[number]
        return Step(f"{count + 1} ", num_tokens=1, finish="length")


class Running:
    """A loop in simulated time, whose every step takes 10 ms."""

    def __init__(self, flight: Flight[Any], room: Room) -> None:
        self.metrics = Metrics()
        device = simulated_time.SimulatedExecutor(lambda *_: STEP_S)
        self.queue: Queue[Generation] = Queue(
            clock=simulated_time.now, cost_model=CostModel(), max_entries=100, max_skips=8
        )
        self.loop = DecodingLoop(flight, self.queue, device.run, room, self.metrics.cache)

    async def text(self, num_tokens: int, deadline: Deadline = NEVER, num_prompt_tokens: int = 3) -> str:
        events = self.loop.answer(prompt_of(num_prompt_tokens), Sampling(num_tokens), deadline)
        return "".join([event.text async for event in events if isinstance(event, Step)])

    def ask(self, num_tokens: int, deadline: Deadline = NEVER) -> asyncio.Task[str]:
        return asyncio.create_task(self.text(num_tokens, deadline))

    def metric(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(name)
        assert value is not None
        return value


@contextlib.asynccontextmanager
async def running(flight: Tight, room: Room = Room(max_rows=3)) -> AsyncIterator[Running]:
    one = Running(flight, room)
    one.loop.start()
    try:
        yield one
    finally:
        await one.loop.close()
        statistics = one.queue.statistics
        assert statistics["submitted"] == statistics.total() - statistics["submitted"], "somebody never heard"
        assert not one.queue._in_hand
        assert flight.is_empty


def simulated(test: Coroutine[Any, Any, None]) -> None:
    simulated_time.run(test)


def counted(num_tokens: int) -> str:
    return "".join(f"{number} " for number in range(1, num_tokens + 1))


class Falling:
    """Room for so many, until it becomes less."""

    def __init__(self, max_flying: int) -> None:
        self.max_flying = max_flying

    def __call__(self) -> int:
        return self.max_flying


def test_the_youngest_waits_and_goes_on_where_it_was() -> None:
    async def test() -> None:
        memory = Falling(3)
        flight = Tight(memory)
        async with running(flight) as it:
            asked = [it.ask(20) for _ in range(3)]
            await asyncio.sleep(5.5 * STEP_S)
            memory.max_flying = 2
            assert await asyncio.gather(*asked) == [counted(20)] * 3
            assert it.metric("trivium_answers_put_back_total") == 1
        assert [len(step) for step in flight.steps] == [3] * 5 + [2] * 15 + [1] * 15
        assert flight.steps[4] == [1, 2, 3]
        assert flight.steps[5] == [1, 2]
        assert flight.steps[-1] == [3]

    simulated(test())


def test_its_end_counts_what_it_wrote_before_and_after() -> None:
    async def test() -> None:
        memory = Falling(2)
        async with running(Tight(memory)) as it:
            first = it.ask(10)
            await asyncio.sleep(0.5 * STEP_S)

            async def events() -> list[Step | Ended]:
                return [event async for event in it.loop.answer(prompt_of(3), Sampling(10), NEVER)]

            second = asyncio.create_task(events())
            await asyncio.sleep(4 * STEP_S)
            memory.max_flying = 1
            await first
            *_, ended = await second
        assert isinstance(ended, Ended)
        assert (ended.num_tokens, ended.stats.num_tokens) == (10, 13)
        assert ended.stats.queue_ms < 2 * STEP_S * 1e3, "it waited for memory, not in the queue"
        assert ended.stats.compute_ms > 15 * STEP_S * 1e3

    simulated(test())


def test_who_was_put_back_goes_on_before_newcomers_with_nearer_deadlines() -> None:
    async def test() -> None:
        memory = Falling(2)
        flight = Tight(memory)
        async with running(flight, Room(max_rows=2)) as it:
            flying = [it.ask(20), it.ask(30)]
            await asyncio.sleep(5.5 * STEP_S)
            memory.max_flying = 1
            urgent = it.ask(5, Deadline(30.0))
            assert await flying[0] == counted(20)
            assert await flying[1] == counted(30)
            assert await urgent == counted(5)
        assert [flown for flown, _ in itertools.groupby(flight.steps)] == [[1, 2], [1], [2], [3]]

    simulated(test())


def test_what_failed_for_memory_is_not_tried_again_at_every_step() -> None:
    async def test() -> None:
        memory = Falling(8)
        flight = Tight(memory)
        async with running(flight, Room(max_rows=8, max_cache_tokens=8 * 53)) as it:
            asked = [it.ask(50) for _ in range(8)]
            await asyncio.sleep(5.5 * STEP_S)
            memory.max_flying = 4
            assert await asyncio.gather(*asked) == [counted(50)] * 8
            assert it.metric("trivium_answers_put_back_total") == 4
        assert len(flight.steps) == 5 + 45 + 45

    simulated(test())


def test_a_caller_who_leaves_while_put_back_is_forgotten() -> None:
    async def test() -> None:
        memory = Falling(2)
        async with running(Tight(memory)) as it:
            stays, leaves = it.ask(20), it.ask(20)
            await asyncio.sleep(5.5 * STEP_S)
            memory.max_flying = 1
            await asyncio.sleep(3 * STEP_S)
            leaves.cancel()
            assert await stays == counted(20)
            assert it.queue.statistics["cancelled"] == 1

    simulated(test())


def test_a_deadline_passes_while_put_back_too() -> None:
    async def test() -> None:
        memory = Falling(2)
        async with running(Tight(memory)) as it:
            stays = it.ask(40)
            await asyncio.sleep(0.5 * STEP_S)
            late = it.ask(20, Deadline(20 * STEP_S))
            await asyncio.sleep(5 * STEP_S)
            memory.max_flying = 1
            with pytest.raises(DeadlinePassed):
                await late
            assert simulated_time.now() < 22 * STEP_S
            assert await stays == counted(40)
            assert it.queue.statistics["expired"] == 1

    simulated(test())


def test_closing_lets_those_end_who_were_put_back() -> None:
    async def test() -> None:
        memory = Falling(2)
        async with running(Tight(memory), Room(max_rows=2)) as it:
            flying, waits = [it.ask(20), it.ask(20)], it.ask(20)
            await asyncio.sleep(5.5 * STEP_S)
            memory.max_flying = 1
            await asyncio.sleep(3 * STEP_S)
            await it.loop.close()
            assert await asyncio.gather(*flying) == [counted(20)] * 2
            with pytest.raises(Unavailable):
                await waits

    simulated(test())


def test_a_loop_that_dies_leaves_nobody_waiting_for_memory() -> None:
    async def test() -> None:
        memory = Falling(2)
        it = Running(Tight(memory), Room(max_rows=2))
        it.loop.start()
        asked = [it.ask(50) for _ in range(3)]
        await asyncio.sleep(5.5 * STEP_S)
        memory.max_flying = 1
        await asyncio.sleep(2 * STEP_S)
        assert it.loop._task is not None
        it.loop._task.cancel()
        for caller in asked:
            with pytest.raises(Unavailable):
                await caller
        assert not it.queue._in_hand

    simulated(test())


def test_an_answer_that_has_no_memory_alone_is_too_large_and_the_next_is_served() -> None:
    async def test() -> None:
        memory = Falling(0)
        async with running(Tight(memory)) as it:
            with pytest.raises(TooLarge, match=r"no memory.*sampling\.max_output_tokens"):
                await it.text(5)
            memory.max_flying = 1
            assert await it.text(5) == counted(5)

    simulated(test())


@pytest.mark.parametrize(
    ("num_prompt_tokens", "num_tokens", "text"),
    [
        (60, 41, r"60 tokens .* 41: .* 100 .*lower sampling\.max_output_tokens"),
        (100, 1, r"100 tokens .* 1: .* 100 .*lower the number of passages"),
    ],
    ids=["answer", "prompt"],
)
def test_what_can_never_have_room_is_refused_at_once(num_prompt_tokens: int, num_tokens: int, text: str) -> None:
    async def test() -> None:
        flight = Tight(Falling(3))
        async with running(flight, Room(max_rows=3, max_cache_tokens=100)) as it:
            with pytest.raises(TooLarge, match=text):
                await it.text(num_tokens, num_prompt_tokens=num_prompt_tokens)
            assert not flight.steps
            assert await it.text(40, num_prompt_tokens=60) == counted(40)

    simulated(test())


def test_the_metrics_show_how_full_the_cache_is() -> None:
    async def test() -> None:
        memory = Falling(3)
        async with running(Tight(memory), Room(max_rows=3, max_cache_tokens=100)) as it:
            names = [f"trivium_cache_tokens_{name}" for name in ("limit", "reserved", "used")]
            assert [it.metric(name) for name in names] == [100, 0, 0]
            asked = [it.ask(10) for _ in range(3)]
            await asyncio.sleep(4.5 * STEP_S)
            assert [it.metric(name) for name in names] == [100, 3 * 13, 3 * 7]
            memory.max_flying = 2
            await asyncio.sleep(STEP_S)
            assert [it.metric(name) for name in names] == [2 * 13, 2 * 13, 2 * 8]
            await asyncio.gather(*asked)
            assert it.metric(names[1]) == it.metric(names[2]) == 0
            assert 26 < it.metric(names[0]) < 100

    simulated(test())


def test_without_a_bound_the_limit_is_shown_as_none() -> None:
    async def test() -> None:
        async with running(Tight(Falling(3))) as it:
            await it.text(2)
            assert it.metric("trivium_cache_tokens_limit") == 0

    simulated(test())


REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 30),  # tokens
        st.integers(0, 300),  # when it comes, ms
        st.one_of(st.none(), st.integers(5, 500)),  # how long it has, ms
        st.one_of(st.none(), st.none(), st.integers(0, 400)),  # when its caller leaves, ms
    ),
    max_size=20,
)


@given(
    asked=REQUESTS, rows=st.lists(st.integers(0, 4), max_size=60), closes_ms=st.one_of(st.none(), st.integers(0, 400))
)
@settings(deadline=None, max_examples=60)
def test_everybody_hears_and_nothing_is_said_twice(
    asked: list[tuple[int, int, int | None, int | None]], rows: list[int], closes_ms: int | None
) -> None:
    """Whoever comes, leaves, is late or put back, and whenever the process is told to stop."""
    by_step = iter(rows)
    flight = Tight(lambda: next(by_step, 4))

    async def ask(it: Running, num_tokens: int, after_ms: int, has_ms: int | None, leaves_ms: int | None) -> str:
        await asyncio.sleep(after_ms / 1e3)
        deadline = NEVER if has_ms is None else Deadline((after_ms + has_ms) / 1e3)
        async with asyncio.timeout(None if leaves_ms is None else leaves_ms / 1e3):
            return await it.text(num_tokens, deadline)

    async def test() -> None:
        async with running(flight, Room(max_rows=4, max_cache_tokens=100)) as it:
            callers = [asyncio.create_task(ask(it, *one)) for one in asked]
            if closes_ms is not None:
                await asyncio.sleep(closes_ms / 1e3)
                await it.loop.close()
            for (num_tokens, _, has_ms, leaves_ms), text in zip(
                asked, await asyncio.gather(*callers, return_exceptions=True), strict=True
            ):
                match text:
                    case str():
                        assert text == counted(num_tokens)
                    case TooLarge():
                        assert 0 in rows
                    case Unavailable():
                        assert closes_ms is not None
                    case TimeoutError():
                        assert leaves_ms is not None
                    case Overloaded():  # who has time for ever too, where one before it is late already
                        assert any(has_ms is not None for _, _, has_ms, _ in asked)
                    case _:
                        assert isinstance(text, DeadlinePassed)
                        assert has_ms is not None

    simulated(test())
