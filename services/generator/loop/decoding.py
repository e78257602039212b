"""The loop between queue and flight: each step of the device is one token of every answer on its way.

Before every step those leave whom nobody waits for any more, and as many join as there is room for, the nearest
deadline first: a cancelled or expired request costs no further step, and one that has arrived waits for no other's
end. Text goes into a buffer of the request's own that holds a whole answer, so that a slow reader delays nobody: a row
never pauses for its reader, who gets what waits in one piece.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from typing import Any

from chassis.deadline import Deadline
from chassis.errors import TooLarge, Unavailable
from chassis.queue import Queue
from services.generator.engine import Flight, NoMemory, Prompt, PutBack, Sampling, Step
from services.generator.loop.buffer import Buffer
from services.generator.loop.cache_watch import CacheWatch, Unwatched
from services.generator.loop.flyer import Ended, Flyer, Generation
from services.generator.loop.room import ONE, Room, Size, reserved, used

OnDevice = Callable[..., Awaitable[Any]]

MEMORY = 0.9
"""Weight of the past in the expected length of an answer."""


class DecodingLoop:
    """`start` it, take answers from it, `close` it."""

    def __init__(
        self,
        flight: Flight[Any],
        queue: Queue[Generation],
        on_device: OnDevice,
        room: Room = ONE,
        watch: CacheWatch | None = None,
    ) -> None:
        self._flight = flight
        self._queue = queue
        self._queue.max_runs = room.max_rows
        self._on_device = on_device
        self._room = self._whole_room = room
        self._watch = watch or Unwatched()
        self._flyers: dict[int, Flyer] = {}
        """By the order of their entries."""
        self._put_back: dict[int, Flyer] = {}
        """Those who wait for memory to go on."""
        self._lost: list[int] = []
        """Those that the flight may still have, though they have failed."""
        self._expected_tokens: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._tell()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take nothing new, fail what waits as Unavailable, and let the answers on their way end. Idempotent."""
        self._queue.close()
        if self._task:
            await asyncio.wait([self._task])

    async def answer(
        self, prompt: Prompt, sampling: Sampling, deadline: Deadline
    ) -> AsyncGenerator[Step | Ended, None]:
        """What the steps brought, joined where it had to wait, then how it ended. Closing the iteration stops the work
        at the next step.

        Raises TooLarge, what the queue refuses or drops it with, or what the engine raised.
        """
        self._require_room(Size.of(prompt, sampling))
        generation = Generation(prompt, sampling)
        entry = self._queue.submit(generation, cost=self._cost(prompt, sampling), deadline=deadline)
        entry.future.add_done_callback(functools.partial(_end, generation.buffer))
        try:
            while step := await generation.buffer.take():
                yield step
            yield await entry.future
        finally:
            self._queue.cancel(entry)

    async def _run(self) -> None:
        try:
            while self._flyers or self._put_back or not self._queue.is_closed:
                if not self._flyers and not self._put_back:
                    await self._queue.wait()
                leaving = self._leave()
                joining = self._join()
                if leaving or self._flyers:
                    await self._step(joining, leaving)
        finally:  # however it ends, nobody waits for an answer that will not come
            self._queue.close()
            for flyer in [*self._flyers.values(), *self._put_back.values()]:
                self._land(flyer, Unavailable("STOPPED", "the device stopped in the middle of an answer"))

    def _leave(self) -> list[int]:
        """The numbers of those whom nobody waits for any more."""
        all_flyers = [*self._flyers.values(), *self._put_back.values()]
        gone = [flyer for flyer in all_flyers if not self._queue.keep(flyer.entry)]
        for flyer in gone:
            self._land(flyer)
        lost, self._lost = self._lost, []
        return [*lost, *(flyer.entry.order for flyer in gone)]

    def _join(self) -> dict[int, tuple[Prompt, Sampling]]:
        """Those who were put back and then those with the nearest deadlines, until one has to wait for room: nobody
        passes it."""
        joining: dict[int, tuple[Prompt, Sampling]] = {}
        flying, sizes = [flyer.size for flyer in self._flyers.values()], list[Size]()
        for flyer in sorted(self._put_back.values(), key=lambda flyer: flyer.entry.rank):
            if not self._room.fits(flyer.size_now, flying, sizes):
                return joining
            self._go_on(flyer)
            joining[flyer.entry.order] = flyer.entry.work.prompt, flyer.entry.work.sampling
            sizes.append(flyer.size_now)
        while len(self._flyers) < self._room.max_rows and (entries := self._queue.take(1)):
            (entry,) = entries
            if not self._queue.keep(entry):
                continue
            size = Size.of(entry.work.prompt, entry.work.sampling)
            if not self._room.fits(size, flying, sizes):
                self._queue.restore(entries)
                break
            self._flyers[entry.order] = Flyer(entry, self._queue.start(entries), size)
            joining[entry.order] = entry.work.prompt, entry.work.sampling
            sizes.append(size)
        return joining

    async def _step(self, joining: Mapping[int, tuple[Prompt, Sampling]], leaving: Collection[int]) -> None:
        began = self._queue.now
        try:
            outcomes = await self._on_device(self._flight.step, joining, leaving)
        except Exception as error:  # ours: no answer's own
            self._lost = list(self._flyers)
            outcomes = dict.fromkeys(self._flyers, error)
        self._share(self._queue.now - began)
        for number, outcome in outcomes.items():
            self._take(self._flyers[number], outcome)
        if num_put_back := sum(isinstance(outcome, PutBack) for outcome in outcomes.values()):
            self._room = self._room.shrunk([flyer.size for flyer in self._flyers.values()])
            self._watch.put_back(num_put_back)
        self._tell()

    def _share(self, seconds: float) -> None:
        """All who were in a step had the same part of the device."""
        num_flyers = len(self._flyers)
        for flyer in self._flyers.values():
            flyer.run.spend(seconds / num_flyers)
            flyer.num_steps += 1
            flyer.num_companions += num_flyers - 1

    def _take(self, flyer: Flyer, outcome: Step | PutBack | Exception) -> None:
        if isinstance(outcome, NoMemory):
            outcome = TooLarge("there is no memory for this answer; lower sampling.max_output_tokens")
        if isinstance(outcome, PutBack):
            self._wait(flyer)
            return
        if isinstance(outcome, Exception):
            self._land(flyer, outcome)
            return
        flyer.add(outcome)
        if flyer.finish:
            self._learn(flyer.num_tokens)
            self._land(flyer)
            self._room = self._room.regrown(self._whole_room)

    def _wait(self, flyer: Flyer) -> None:
        """There was no memory for it in this step."""
        self._put_back[flyer.entry.order] = self._flyers.pop(flyer.entry.order)
        self._queue.pause(flyer.run)

    def _go_on(self, flyer: Flyer) -> None:
        """It joins again."""
        self._flyers[flyer.entry.order] = self._put_back.pop(flyer.entry.order)
        self._queue.resume(flyer.run)

    def _land(self, flyer: Flyer, error: Exception | None = None) -> None:
        """The answer is over: it has ended, or failed, or nobody waits for it."""
        for flyers in (self._flyers, self._put_back):
            flyers.pop(flyer.entry.order, None)
        prompt = flyer.entry.work.prompt
        report = self._queue.finish(
            flyer.run,
            num_tokens=prompt.num_tokens + flyer.num_tokens,
            num_padded_tokens=prompt.num_padded_tokens + flyer.num_tokens,
            error=error,
        )
        if error:
            self._queue.fail(flyer.entry, error)
        elif flyer.finish:
            self._queue.serve(flyer.entry, flyer.ended(report))

    def _require_room(self, size: Size) -> None:
        """Raises TooLarge where there could never be enough, whoever ends."""
        if self._whole_room.holds(size):
            return
        limit = int(self._whole_room.max_cache_tokens)
        what = "sampling.max_output_tokens" if size.num_prompt_tokens < limit else "the number of passages"
        raise TooLarge(
            f"the prompt has {size.num_prompt_tokens:,} tokens and the answer may have {size.max_output_tokens:,}:"
            f" together more than the {limit:,} that the cache holds; lower {what}"
        )

    def _tell(self) -> None:
        """How full the cache is, to whoever watches."""
        sizes = [flyer.size_now for flyer in self._flyers.values()]
        self._watch.cache_changed(self._room.max_cache_tokens, reserved(sizes), used(sizes))

    def _learn(self, num_tokens: int) -> None:
        if self._expected_tokens is None:
            self._expected_tokens = num_tokens
        self._expected_tokens += (1 - MEMORY) * (num_tokens - self._expected_tokens)

    def _cost(self, prompt: Prompt, sampling: Sampling) -> int:
        """Tokens that the device will work on, as far as can be told."""
        expected = sampling.max_output_tokens if self._expected_tokens is None else round(self._expected_tokens)
        return prompt.num_padded_tokens + sampling.num_beams * min(sampling.max_output_tokens, expected)


def _end(buffer: Buffer, future: asyncio.Future[Ended]) -> None:
    if not future.cancelled():
        future.exception()  # looked at, so that asyncio does not report it where the caller has left
    buffer.end()
