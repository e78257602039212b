"""Many documents on their way at once, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Input = TypeVar("Input")
Output = TypeVar("Output")


class Allowance:
    """An amount that many tasks share: who wants more than is left waits until others give back."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def of(self, amount: int) -> AsyncIterator[None]:
        """Hold so much of it, at most the total, within the block."""
        while self._free < amount:
            await self._given_back.wait()
        self._free -= amount
        try:
            yield
        finally:
            self._free += amount
            self._given_back.set()
            self._given_back = asyncio.Event()


class Turns:
    """One task at a time for each key, in the order in which they came."""

    def __init__(self) -> None:
        self._lock_by_key: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Have the key's turn within the block."""
        lock = self._lock_by_key.setdefault(key, asyncio.Lock())
        async with lock:
            yield


class Undertakings:
    """Work that goes on to its end when its callers leave. They await it within `asyncio.shield`."""

    def __init__(self) -> None:
        self._unfinished: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, Output]) -> asyncio.Task[Output]:
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def finish(self) -> None:
        """Returns once nothing is left that was begun, however it ended."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)


async def map_as_finished(
    function: Callable[[Input], Awaitable[Output]],
    inputs: AsyncIterator[Input],
    weight: Callable[[Input], int],
    max_weight: int,
) -> AsyncGenerator[Output, None]:
    """`function` of every input, as they finish. The next input is read once less than `max_weight` runs.

    Raises the first exception of an input or a function; what then runs is cancelled. Use it with `aclosing`.
    """
    weight_by_task: dict[asyncio.Task[Output], int] = {}
    reading: asyncio.Task[Input] | None = asyncio.create_task(_read(inputs))
    try:
        while reading or weight_by_task:
            has_room = sum(weight_by_task.values()) < max_weight
            waited_for: set[asyncio.Task[Input] | asyncio.Task[Output]] = set(weight_by_task)
            if reading and has_room:
                waited_for.add(reading)
            done, _ = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if reading in done:
                reading = _start(reading, function, inputs, weight, weight_by_task)
            for task in [task for task in weight_by_task if task in done]:
                del weight_by_task[task]
                yield task.result()
    finally:
        left: list[asyncio.Task[Any]] = [*weight_by_task, *([reading] if reading else [])]
        for unfinished in left:
            unfinished.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _start(
    reading: asyncio.Task[Input],
    function: Callable[[Input], Awaitable[Output]],
    inputs: AsyncIterator[Input],
    weight: Callable[[Input], int],
    weight_by_task: dict[asyncio.Task[Output], int],
) -> asyncio.Task[Input] | None:
    """Work on what was read, and read on."""
    try:
        read = reading.result()
    except _End:
        return None
    weight_by_task[asyncio.create_task(_call(function, read))] = weight(read)
    return asyncio.create_task(_read(inputs))


class _End(Exception):
    """The inputs are over. (StopAsyncIteration cannot leave a task.)"""


async def _read(inputs: AsyncIterator[Input]) -> Input:
    try:
        return await anext(inputs)
    except StopAsyncIteration:
        raise _End from None


async def _call(function: Callable[[Input], Awaitable[Output]], read: Input) -> Output:
    return await function(read)
