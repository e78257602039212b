"""Keeps a device busy with batches.

No timer: when the device is free the next batch starts at once with what waits, and while it is busy the next one
accumulates. Once a full batch waits it is tokenised ahead, on the helper thread, since waiting longer could not
make it better; any other is tokenised on the device's thread, since changing threads takes longer than tokenising
does. To the batcher a model is three verbs; what waits, and for how long, is the queue's business.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from chassis.deadline import Deadline
from chassis.errors import Unavailable
from chassis.executor import Executor
from chassis.observer import BatchStats
from chassis.queue import Entry, Priority, Queue, Run


class Counted(Protocol):
    """A prepared batch, as far as the batcher looks into it."""

    @property
    def num_tokens(self) -> int: ...
    @property
    def num_padded_tokens(self) -> int: ...


Item = TypeVar("Item")
Output = TypeVar("Output")
ItemIn = TypeVar("ItemIn", contravariant=True)
OutputOut = TypeVar("OutputOut", covariant=True)
Batch = TypeVar("Batch", bound=Counted)


class Model(Protocol[ItemIn, Batch, OutputOut]):
    """What a model must do to be served in batches."""

    @property
    def pads(self) -> bool:
        """Whether in a batch a short item costs as much as the longest."""
        ...

    def cost(self, item: ItemIn) -> int:
        """Tokens of `item`, perhaps estimated. Called on the event loop: cheap."""
        ...

    def prepare(self, items: Sequence[ItemIn]) -> Batch:
        """Tokenise. Called on either thread, by one at a time."""
        ...

    def run(self, batch: Batch) -> Sequence[OutputOut]:
        """One output per item, in their order. Called on the device's thread."""
        ...


@dataclass(frozen=True)
class Served(Generic[Output]):
    """One output and how it came about."""

    output: Output
    stats: BatchStats


class WrongNumberOfOutputs(Exception):
    """The model broke its contract."""


@dataclass(frozen=True)
class _Formed(Generic[Item]):
    """A batch; what it is tokenised, unless that is still to be done."""

    entries: list[Entry[Item]]
    batch: Any = None
    error: Exception | None = None


class Batcher(Generic[Item, Output]):
    """Serves one model on one device from one queue, whose observer learns of every batch."""

    def __init__(
        self,
        model: Model[Item, Any, Output],
        *,
        queue: Queue[Item],
        max_batch_tokens: int,
        device: Executor,
        helper: Executor,
    ) -> None:
        self._model = model
        self._queue = queue
        self._max_batch_tokens = max_batch_tokens
        self._device = device
        self._helper = helper
        self._tokenising = threading.Lock()  # a tokenizer's truncation is a state of it: two threads cannot share one
        self._serving: asyncio.Task[None] | None = None

    async def submit(
        self, item: Item, *, deadline: Deadline, priority: Priority = Priority.INTERACTIVE
    ) -> Served[Output]:
        """The model's output for `item`.

        Raises Overloaded at once when it would be late, DeadlinePassed, Unavailable when closed, or what the
        model raised for this very item. Cancelling the call frees its place.
        """
        return (await self.submit_many([item], deadline=deadline, priority=priority))[0]

    async def submit_many(
        self, items: Sequence[Item], *, deadline: Deadline, priority: Priority = Priority.INTERACTIVE
    ) -> list[Served[Output]]:
        """The outputs for all of `items`, in their order, or the first error. All are admitted, or none."""
        costs = [self._model.cost(item) for item in items]
        entries = self._queue.submit_many(items, costs=costs, deadline=deadline, priority=priority)
        try:
            return list(await asyncio.gather(*(entry.future for entry in entries)))
        finally:
            for entry in entries:
                self._queue.cancel(entry)

    def start(self) -> None:
        """Begin to serve, on the running event loop."""
        self._serving = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Take no new work, fail what waits as Unavailable, let the running batch finish. Idempotent."""
        self._queue.close()
        if self._serving:
            await asyncio.wait([self._serving])

    async def _serve(self) -> None:
        running: asyncio.Task[None] | None = None
        try:
            while not self._queue.is_closed:
                await self._until_a_batch_is_due(running)
                entries = self._queue.take(self._max_batch_tokens)
                is_busy = running is not None and not running.done()
                formed = await self._tokenised(entries) if is_busy else _Formed(entries)
                if running:
                    await running
                formed = await self._first_in_line(formed)
                running = self._start(formed) if formed.entries else None
            if running:
                await running
        finally:
            self._queue.close()

    async def _until_a_batch_is_due(self, running: asyncio.Task[None] | None) -> None:
        """Until a full batch waits, or the device is free and anything waits."""
        if running:
            full = asyncio.create_task(self._queue.wait(self._max_batch_tokens))
            await asyncio.wait([running, full], return_when=asyncio.FIRST_COMPLETED)
            full.cancel()
        if not running or running.done():
            await self._queue.wait()

    async def _tokenised(self, entries: list[Entry[Item]]) -> _Formed[Item]:
        if not entries:
            return _Formed(entries)
        try:
            return _Formed(entries, await self._helper.run(self._tokenise, [entry.work for entry in entries]))
        except Exception as error:
            return _Formed(entries, error=error)

    def _tokenise(self, works: Sequence[Item]) -> Any:
        with self._tokenising:
            return self._model.prepare(works)

    async def _first_in_line(self, formed: _Formed[Item]) -> _Formed[Item]:
        """This batch without those lost since it was formed; or another, if it is bulk and interactive work came."""
        formed = await self._still_wanted(formed)
        while formed.entries and formed.entries[0].priority > self._queue.next_priority:
            self._queue.restore(formed.entries)
            formed = await self._tokenised(self._queue.take(self._max_batch_tokens))
            formed = await self._still_wanted(formed)
        return formed

    async def _still_wanted(self, formed: _Formed[Item]) -> _Formed[Item]:
        """This batch, tokenised again without those who left or whose time is over."""
        while len(wanted := self._kept(formed.entries)) < len(formed.entries):
            formed = await self._tokenised(wanted)
        return formed

    def _kept(self, entries: Sequence[Entry[Item]]) -> list[Entry[Item]]:
        return [entry for entry in entries if self._queue.keep(entry)]

    def _start(self, formed: _Formed[Item]) -> asyncio.Task[None]:
        """The queue learns of it now, not when the task begins: nobody can slip in between."""
        return asyncio.create_task(self._run(formed, self._queue.start(formed.entries)))

    async def _run(self, formed: _Formed[Item], run: Run[Item]) -> None:
        """Compute a batch. If it fails, compute its halves, until what fails is one item alone."""
        try:
            await self._compute(formed, run)
        except Exception as error:
            if len(formed.entries) == 1:
                self._queue.fail(formed.entries[0], error)
            for half in _halves(formed.entries):
                if wanted := self._kept(half):
                    await self._run(_Formed(wanted), self._queue.start(wanted))
        finally:
            for entry in formed.entries:  # only what no Exception explains: the process is going down
                self._queue.fail(entry, Unavailable("STOPPED", "the device stopped in the middle of a batch"))

    async def _compute(self, formed: _Formed[Item], run: Run[Item]) -> None:
        entries, batch = formed.entries, formed.batch
        error: BaseException | None = None
        try:
            if formed.error:
                raise formed.error
            if batch is None:
                batch, outputs = await self._device.run(self._tokenise_and_run, [entry.work for entry in entries])
            else:
                outputs = await self._device.run(self._model.run, batch)
            if len(outputs) != len(entries):
                raise WrongNumberOfOutputs(f"{len(outputs)} outputs for {len(entries)} items")
        except BaseException as raised:
            error = raised
            raise
        finally:
            counts = (None, None) if batch is None else (batch.num_tokens, batch.num_padded_tokens)
            report = self._queue.finish(run, num_tokens=counts[0], num_padded_tokens=counts[1], error=error)
        for entry, output in zip(entries, outputs, strict=True):
            self._queue.serve(entry, Served(output, report.stats(entry)))

    def _tokenise_and_run(self, works: Sequence[Item]) -> tuple[Any, Sequence[Output]]:
        batch = self._tokenise(works)
        return batch, self._model.run(batch)


def _halves(entries: list[Entry[Item]]) -> list[list[Entry[Item]]]:
    middle = len(entries) // 2
    return [entries[:middle], entries[middle:]] if middle else []
