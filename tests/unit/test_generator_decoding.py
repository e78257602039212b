"""One answer at a time; whoever leaves costs no further step."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence

import pytest

from chassis.cost_model import CostModel
from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed, Overloaded, Unavailable
from chassis.executor import SingleThread
from chassis.queue import Queue
from services.generator.engine import AnswerKind, Passage, Prompt, Sampling, Step
from services.generator.loop.decoding import DecodingLoop
from services.generator.loop.flyer import Ended, Generation
from services.generator.rows.alone import Alone

SPEECH = Prompt(num_tokens=3, num_padded_tokens=4, truncated_tokens=0, dropped_passage_ids=())
SILENCE = Prompt(num_tokens=1, num_padded_tokens=1, truncated_tokens=0, dropped_passage_ids=())
FAULT = Prompt(num_tokens=2, num_padded_tokens=2, truncated_tokens=0, dropped_passage_ids=())


class Counting:
    """An engine that counts aloud: "1 2 3 …". It fails at its third step when told FAULT."""

    kind: AnswerKind = "generated"
    max_prompt_tokens = 100
    max_output_tokens = 10_000

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.num_steps = 0
        self.num_open = 0
        self.threads: set[int] = set()
        self.spoken: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def fit(self, question: str, passages: Sequence[Passage]) -> Prompt:
        return SPEECH

    def generate(self, prompt: Prompt, sampling: Sampling) -> Generator[Step, None, None]:
        self.num_open += 1
        try:
            for number in range(1, sampling.max_output_tokens + 1):
                self.threads.add(threading.get_ident())
                time.sleep(self.step_s)
                self.num_steps += 1
                if prompt is FAULT and number == 3:
                    raise ArithmeticError("cannot count on")
                is_last = number == sampling.max_output_tokens
                yield Step(
                    "" if prompt is SILENCE else f"{number} ", num_tokens=1, finish="length" if is_last else None
                )
        finally:
            self.threads.add(threading.get_ident())
            self.num_open -= 1


async def until(is_so: Callable[[], object]) -> None:
    for _ in range(500):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 5 s in vain")


class Running:
    def __init__(self, engine: Counting) -> None:
        self.engine = engine
        self.device = SingleThread("test-device")
        self.queue: Queue[Generation] = Queue(
            clock=time.monotonic, cost_model=CostModel(), max_entries=100, max_skips=8
        )
        self.loop = DecodingLoop(Alone(engine), self.queue, self.device.run)

    async def text(self, prompt: Prompt, num_tokens: int, deadline: Deadline = NEVER) -> str:
        return "".join(
            [
                one.text
                async for one in self.loop.answer(prompt, Sampling(num_tokens), deadline)
                if isinstance(one, Step)
            ]
        )

    async def until_idle(self) -> None:
        await until(lambda: not self.queue.depth and not self.engine.num_open)


@contextlib.asynccontextmanager
async def running(engine: Counting) -> AsyncIterator[Running]:
    one = Running(engine)
    one.loop.start()
    try:
        yield one
    finally:
        await one.loop.close()
        one.device.close()


async def test_steps_come_in_order_and_then_how_it_ended() -> None:
    async with running(Counting()) as it:
        events = [event async for event in it.loop.answer(SPEECH, Sampling(4), NEVER)]
    *steps, ended = events
    assert [step.text for step in steps if isinstance(step, Step)] == ["1 ", "2 ", "3 ", "4 "]
    assert isinstance(ended, Ended)
    assert (ended.finish, ended.num_tokens) == ("length", 4)
    assert (ended.stats.batch_size, ended.stats.num_tokens, ended.stats.num_padded_tokens) == (1, 7, 8)
    assert ended.stats.compute_ms > 0
    assert ended.first_text_at is not None
    assert ended.first_text_at < ended.last_text_at
    assert ended.seconds_per_token == (ended.last_text_at - ended.first_text_at) / 3


async def test_a_step_without_text_is_counted_and_not_told() -> None:
    async with running(Counting()) as it:
        events = [event async for event in it.loop.answer(SILENCE, Sampling(3), NEVER)]
    assert len(events) == 1
    assert isinstance(events[0], Ended)
    assert events[0].num_tokens == 3
    assert (events[0].first_text_at, events[0].seconds_per_token) == (None, None)


async def test_every_step_runs_on_the_thread_of_the_device() -> None:
    engine = Counting()
    async with running(engine) as it:
        await it.text(SPEECH, 5)
        await it.text(SPEECH, 5)
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads


async def test_a_reader_who_leaves_stops_the_work_at_the_next_step() -> None:
    engine = Counting(step_s=0.005)
    async with running(engine) as it:
        async with contextlib.aclosing(it.loop.answer(SPEECH, Sampling(10_000), NEVER)) as answer:
            await anext(answer)
        at_leaving = engine.num_steps
        await it.until_idle()
        assert engine.num_steps <= at_leaving + 2
        assert it.queue.statistics["cancelled"] == 1
        assert await it.text(SPEECH, 2) == "1 2 "


async def test_a_cancelled_task_stops_the_work_at_the_next_step() -> None:
    engine = Counting(step_s=0.005)
    async with running(engine) as it:
        task = asyncio.create_task(it.text(SPEECH, 10_000))
        await until(lambda: engine.num_steps >= 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await it.until_idle()
        assert engine.num_steps < 10


async def test_a_cancelled_caller_who_waited_is_never_run() -> None:
    engine = Counting(step_s=0.005)
    async with running(engine) as it:
        first = asyncio.create_task(it.text(SPEECH, 10))
        second = asyncio.create_task(it.text(SPEECH, 10))
        await until(lambda: engine.num_steps >= 3)
        second.cancel()
        await first
        await it.until_idle()
    assert engine.num_steps == 10
    assert it.queue.statistics["cancelled"] == 1


async def test_a_deadline_ends_the_work_at_the_next_step() -> None:
    engine = Counting(step_s=0.01)
    async with running(engine) as it:
        with pytest.raises(DeadlinePassed):
            await it.text(SPEECH, 10_000, Deadline.after(0.05))
        await it.until_idle()
    assert engine.num_steps <= 7
    assert it.queue.statistics["expired"] == 1


async def test_the_nearest_deadline_goes_first() -> None:
    engine = Counting(step_s=0.002)
    ended: list[str] = []

    async def ask(it: Running, name: str, deadline: Deadline) -> None:
        await it.text(SPEECH, 5, deadline)
        ended.append(name)

    async with running(engine) as it:
        await asyncio.gather(
            ask(it, "first to come", NEVER),
            ask(it, "patient", Deadline.after(60)),
            ask(it, "urgent", Deadline.after(30)),
        )
    assert ended.index("urgent") < ended.index("patient")


async def test_an_engine_that_fails_fails_its_request_alone() -> None:
    async with running(Counting()) as it:
        fault, speech = await asyncio.gather(it.text(FAULT, 5), it.text(SPEECH, 5), return_exceptions=True)
    assert isinstance(fault, ArithmeticError)
    assert speech == "1 2 3 4 5 "
    assert it.queue.statistics["failed"] == 1
    assert it.engine.num_open == 0


async def test_a_reader_who_does_not_read_holds_up_nobody() -> None:
    async with running(Counting()) as it, contextlib.aclosing(it.loop.answer(SPEECH, Sampling(500), NEVER)) as slow:
        first = await anext(slow)
        async with asyncio.timeout(5):
            assert await it.text(SPEECH, 3) == "1 2 3 "
        rest, ended = [event async for event in slow]
    assert isinstance(first, Step)
    assert isinstance(rest, Step)
    assert first.text + rest.text == "".join(f"{number} " for number in range(1, 501))
    assert isinstance(ended, Ended)


async def test_what_cannot_be_in_time_is_refused_at_once() -> None:
    engine = Counting(step_s=0.005)
    async with running(engine) as it:
        for _ in range(3):
            await it.text(SPEECH, 20)
        waiting = [asyncio.create_task(it.text(SPEECH, 20)) for _ in range(10)]
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        with pytest.raises(Overloaded) as refused:
            await it.text(SPEECH, 20, Deadline.after(0.2))
        assert time.perf_counter() - began < 0.1
        assert refused.value.retry_after_s > 0.2
        await asyncio.gather(*waiting)


async def test_answers_are_expected_to_be_as_long_as_those_before() -> None:
    async with running(Counting(step_s=0.005)) as it:
        for _ in range(3):
            await it.text(SPEECH, 20)
        # 5,000 tokens would take 25 s.
        async with contextlib.aclosing(it.loop.answer(SPEECH, Sampling(5_000), Deadline.after(2))) as answer:
            assert isinstance(await anext(answer), Step)


async def test_closing_fails_what_waits_and_lets_the_running_answer_end() -> None:
    engine = Counting(step_s=0.005)
    it = Running(engine)
    it.loop.start()
    runs = asyncio.create_task(it.text(SPEECH, 20))
    waits = asyncio.create_task(it.text(SPEECH, 20))
    await until(lambda: engine.num_steps >= 3)
    await it.loop.close()
    it.device.close()
    assert (await runs).startswith("1 2 3 ")
    with pytest.raises(Unavailable):
        await waits
    with pytest.raises(Unavailable):
        await it.text(SPEECH, 1)


async def test_a_loop_that_dies_leaves_nobody_waiting() -> None:
    engine = Counting(step_s=0.005)
    it = Running(engine)
    it.loop.start()
    runs = asyncio.create_task(it.text(SPEECH, 1_000))
    waits = asyncio.create_task(it.text(SPEECH, 20))
    await until(lambda: engine.num_steps >= 3)
    (loop,) = [task for task in asyncio.all_tasks() if "DecodingLoop._run" in repr(task)]
    loop.cancel()
    for caller in (runs, waits, asyncio.create_task(it.text(SPEECH, 1))):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(caller, 5)
    await it.loop.close()
    it.device.close()
