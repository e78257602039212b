"""The loop between queue and engine: one answer at a time, one step at a time.

It draws from the queue the request whose deadline is nearest, and asks before every step whether anybody still
waits for it: a cancelled or expired request costs no further step. Text goes into a buffer of the request's own
that holds a whole answer, so that a slow reader delays nobody; `max_output_tokens` bounds it.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any

from chassis.deadline import Deadline
from chassis.errors import Unavailable
from chassis.observer import BatchReport, BatchStats
from chassis.queue import Entry, Queue
from services.generator.engine import Engine, Finish, Prompt, Sampling, Step

OnDevice = Callable[..., Awaitable[Any]]

MEMORY = 0.9
"""Weight of the past in the expected length of an answer."""


@dataclass(frozen=True)
class Generation:
    """A request for an answer, on its way."""

    prompt: Prompt
    sampling: Sampling
    buffer: asyncio.Queue[Step | None]
    """Steps that brought text. None follows the last, however it ended."""


@dataclass(frozen=True)
class Ended:
    """What an answer was in the end."""

    finish: Finish
    num_tokens: int
    stats: BatchStats
    first_text_at: float
    last_text_at: float
    """`time.perf_counter()` seconds at which the engine gave them."""


@dataclass
class Progress:
    """How far the engine has come with an answer."""

    num_tokens: int = 0
    finish: Finish | None = None
    first_text_at: float | None = None

    def add(self, step: Step) -> None:
        self.num_tokens += step.num_tokens
        self.finish = step.finish
        if step.text and self.first_text_at is None:
            self.first_text_at = time.perf_counter()


class DecodingLoop:
    """`start` it, take answers from it, `close` it."""

    def __init__(self, engine: Engine[Any], queue: Queue[Generation], on_device: OnDevice) -> None:
        self._engine = engine
        self._queue = queue
        self._on_device = on_device
        self._expected_tokens: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take nothing new, fail what waits as Unavailable, and let the running answer end. Idempotent."""
        self._queue.close()
        if self._task:
            await asyncio.wait([self._task])

    async def answer(
        self, prompt: Prompt, sampling: Sampling, deadline: Deadline
    ) -> AsyncGenerator[Step | Ended, None]:
        """The steps that brought text, then how it ended. Closing the iteration stops the work at the next step.

        Raises what the queue refuses or drops it with, or what the engine raised.
        """
        # A step with text has a token, but for the last: its text may be what waited for more.
        buffer: asyncio.Queue[Step | None] = asyncio.Queue(sampling.max_output_tokens + 2)
        generation = Generation(prompt, sampling, buffer)
        entry = self._queue.submit(generation, cost=self._cost(prompt, sampling), deadline=deadline)
        entry.future.add_done_callback(functools.partial(_end, buffer))
        try:
            while step := await buffer.get():
                yield step
            yield await entry.future
        finally:
            self._queue.cancel(entry)

    async def _run(self) -> None:
        try:
            while not self._queue.is_closed:
                await self._queue.wait()
                for entry in self._queue.take(1):
                    if self._queue.keep(entry):
                        await self._decode(entry)
        finally:  # however it ends, nobody waits for an answer that will not come
            self._queue.close()

    async def _decode(self, entry: Entry[Generation]) -> None:
        prompt, progress, error = entry.work.prompt, Progress(), None
        run = self._queue.start([entry])
        try:
            await self._step(entry, self._engine.generate(prompt, entry.work.sampling), progress)
        except Exception as raised:
            error = raised
        except BaseException:  # the loop itself is being ended
            self._queue.fail(entry, Unavailable("STOPPED", "the device stopped in the middle of an answer"))
            raise
        finally:
            report = self._queue.finish(
                run,
                num_tokens=prompt.num_tokens + progress.num_tokens,
                num_padded_tokens=prompt.num_padded_tokens + progress.num_tokens,
                error=error,
            )
        if error:
            self._queue.fail(entry, error)
        elif progress.finish:
            self._learn(progress.num_tokens)
            self._queue.serve(entry, _ended(entry, progress, report))

    async def _step(self, entry: Entry[Generation], steps: Generator[Step, None, None], progress: Progress) -> None:
        while not progress.finish and self._queue.keep(entry):
            step = await self._on_device(next, steps)
            progress.add(step)
            if step.text:
                entry.work.buffer.put_nowait(step)
        await self._on_device(steps.close)

    def _learn(self, num_tokens: int) -> None:
        if self._expected_tokens is None:
            self._expected_tokens = num_tokens
        self._expected_tokens += (1 - MEMORY) * (num_tokens - self._expected_tokens)

    def _cost(self, prompt: Prompt, sampling: Sampling) -> int:
        """Tokens that the device will work on, as far as can be told."""
        expected = sampling.max_output_tokens if self._expected_tokens is None else round(self._expected_tokens)
        return prompt.num_padded_tokens + min(sampling.max_output_tokens, expected)


def _end(buffer: asyncio.Queue[Step | None], future: asyncio.Future[Ended]) -> None:
    if not future.cancelled():
        future.exception()  # looked at, so that asyncio does not report it where the caller has left
    buffer.put_nowait(None)


def _ended(entry: Entry[Generation], progress: Progress, report: BatchReport) -> Ended:
    assert progress.finish
    now = time.perf_counter()
    return Ended(progress.finish, progress.num_tokens, report.stats(entry), progress.first_text_at or now, now)
