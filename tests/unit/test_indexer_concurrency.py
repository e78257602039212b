"""Many documents on their way at once, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from services.retriever.indexer.concurrency import Allowance, Turns, map_as_finished


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def weigh_one(_: int) -> int:
    return 1


async def test_outputs_come_as_they_finish() -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def wait(number: int) -> int:
        await gates[number].wait()
        return number

    gates[2].set()
    found = []
    async for number in map_as_finished(wait, numbers(3), weigh_one, 10):
        found.append(number)
        gates[number - 1].set()
    assert found == [2, 1, 0]


async def test_no_more_is_read_than_there_is_room_for() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return number

    found = [number async for number in map_as_finished(work, numbers(30), lambda _: 2, 8)]
    assert sorted(found) == list(range(30))
    assert most == 4


async def test_an_input_above_the_bound_runs_alone() -> None:
    assert [number async for number in map_as_finished(_same, numbers(3), lambda _: 100, 8)] == [0, 1, 2]


async def test_a_failure_ends_it_and_cancels_the_rest() -> None:
    cancelled = asyncio.Event()

    async def work(number: int) -> int:
        if number == 1:
            raise ValueError("poison")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return number

    with pytest.raises(ValueError, match="poison"):
        await exhaust(map_as_finished(work, numbers(3), weigh_one, 10))
    assert cancelled.is_set()


async def test_a_failure_of_the_input_ends_it() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("input")

    with pytest.raises(ValueError, match="input"):
        await exhaust(map_as_finished(_same, broken(), weigh_one, 10))


async def test_no_input_gives_no_output() -> None:
    assert [number async for number in map_as_finished(_same, numbers(0), weigh_one, 1)] == []


async def test_an_allowance_is_never_exceeded_and_comes_back_after_a_cancel() -> None:
    allowance = Allowance(10)
    held, most = 0, 0

    async def hold(amount: int) -> None:
        nonlocal held, most
        async with allowance.of(amount):
            held += amount
            most = max(most, held)
            try:
                await asyncio.sleep(0.001)
            finally:
                held -= amount

    tasks = [asyncio.create_task(hold(amount)) for amount in (3, 4, 5, 10, 1, 7, 2) * 5]
    await asyncio.sleep(0.002)
    for task in tasks[::4]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert 0 < most <= 10
    async with allowance.of(10):
        assert held == 0


async def test_work_on_one_key_is_done_in_the_order_in_which_it_came() -> None:
    turns, done = Turns(), []

    async def work(key: str, number: int, seconds: float) -> None:
        async with turns.of(key):
            await asyncio.sleep(seconds)
            done.append((key, number))

    await asyncio.gather(work("a", 1, 0.02), work("a", 2, 0), work("b", 3, 0.005), work("a", 4, 0))
    assert done == [("b", 3), ("a", 1), ("a", 2), ("a", 4)]


async def exhaust(outputs: AsyncGenerator[int, None]) -> None:
    async with aclosing(outputs):
        async for _ in outputs:
            pass


async def _same(number: int) -> int:
    return number
