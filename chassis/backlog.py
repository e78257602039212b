"""What waits, in order of deadlines, and whether it can all be done in time.

The entries lie in chunks of a few dozen. Each chunk remembers its seconds of work and how late its worst entry
would be if the chunk began at clock time zero, so one walk over the chunks, not over the entries, tells whether
everybody's promise still holds: thousands may wait and a submission stays in the tens of microseconds.
"""

from __future__ import annotations

import asyncio
import bisect
import contextvars
import enum
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Work = TypeVar("Work")

CHUNK_SIZE = 64
"""Entries in a new chunk; it is cut in two at twice as many."""


class Priority(enum.IntEnum):
    """The two classes. Bulk work runs when no interactive work waits."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(eq=False, slots=True)
class Entry(Generic[Work]):
    """One piece of work on its way through the queue. `future` completes on every path."""

    work: Work
    cost: int
    """Tokens."""
    deadline: float
    """Clock seconds; `math.inf` is none."""
    priority: Priority
    queued_at: float
    order: int
    """Number of this submission: of equal deadlines the first to come is the first to go."""
    due: float
    """The promise kept at admission, clock seconds: the deadline less a reserve for being passed over."""
    seconds: float
    """Predicted device work, as part of a full batch."""
    future: asyncio.Future[Any]
    caller: contextvars.Context = field(default_factory=contextvars.copy_context)
    """The submitter's context. Opaque here; telemetry finds the caller's span in it."""
    skips: int = 0
    """Batches that took something ordered after this entry and left this one behind."""
    outcome: str | None = None
    """How it ended: served, failed, or the reason why it was dropped. None while it is on its way."""

    @property
    def rank(self) -> tuple[float, int]:
        return self.deadline, self.order


def _rank(entry: Entry[Any]) -> tuple[float, int]:
    return entry.deadline, entry.order


class _Chunk(Generic[Work]):
    def __init__(self, entries: list[Entry[Work]]) -> None:
        self.entries = entries
        self._stale = True
        self._seconds = self._lateness = 0.0

    def changed(self) -> None:
        self._stale = True

    def measure(self) -> tuple[float, float]:
        """Seconds of work; and how late the worst entry is if this chunk begins at clock time zero."""
        if self._stale:
            seconds, lateness = 0.0, -math.inf
            for entry in self.entries:
                seconds += entry.seconds
                lateness = max(lateness, seconds - entry.due)
            self._seconds, self._lateness, self._stale = seconds, lateness, False
        return self._seconds, self._lateness


class Backlog(Generic[Work]):
    """The waiting entries of one class: earliest deadline first, then first come."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk[Work]] = []
        self._size = 0
        self.tokens = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry[Work]]:
        for chunk in self._chunks:
            yield from chunk.entries

    def add(self, entry: Entry[Work]) -> None:
        self._size += 1
        self.tokens += entry.cost
        if not self._chunks:
            self._chunks.append(_Chunk([entry]))
            return
        position = min(self._find(entry), len(self._chunks) - 1)
        chunk = self._chunks[position]
        bisect.insort(chunk.entries, entry, key=_rank)
        chunk.changed()
        if len(chunk.entries) >= 2 * CHUNK_SIZE:
            self._chunks.insert(position + 1, _Chunk(chunk.entries[CHUNK_SIZE:]))
            del chunk.entries[CHUNK_SIZE:]

    def discard(self, entry: Entry[Work]) -> None:
        """Take `entry` out if it waits here."""
        position = self._find(entry)
        if position == len(self._chunks):
            return
        chunk = self._chunks[position]
        index = bisect.bisect_left(chunk.entries, entry.rank, key=_rank)
        if index == len(chunk.entries) or chunk.entries[index] is not entry:
            return
        self._size -= 1
        self.tokens -= entry.cost
        del chunk.entries[index]
        chunk.changed()
        if not chunk.entries:
            del self._chunks[position]

    def reprice(self, price: Callable[[int], float]) -> None:
        """Predict every entry's seconds again: the cost model has learnt."""
        for chunk in self._chunks:
            for entry in chunk.entries:
                entry.seconds = price(entry.cost)
            chunk.changed()

    def seconds(self) -> float:
        """Predicted device work of all that waits."""
        return sum(chunk.measure()[0] for chunk in self._chunks)

    def keeps_its_promises(self, newcomer: Entry[Work], start: float) -> bool:
        """Whether `newcomer`, which waits here, and all ordered after it are done in time from `start` on.

        In deadline order each must be done when it is due; or else all that waits is done by its deadline, in
        which case order does not matter.
        """
        first = self._find(newcomer)
        done, all_done = start, start + self.seconds()
        for position, chunk in enumerate(self._chunks):
            seconds, lateness = chunk.measure()
            if position >= first and done + lateness > 0 and all_done > chunk.entries[0].deadline:
                return False
            done += seconds
        return True

    def _find(self, entry: Entry[Work]) -> int:
        """The first chunk whose last entry is not ordered before `entry`."""
        return bisect.bisect_left(self._chunks, entry.rank, key=lambda chunk: chunk.entries[-1].rank)


class Backlogs(Generic[Work]):
    """One backlog for each class. Iterates in the order in which the classes go."""

    def __init__(self) -> None:
        self._backlog_by_priority: dict[Priority, Backlog[Work]] = {priority: Backlog() for priority in Priority}

    def __len__(self) -> int:
        """Entries that wait."""
        return sum(len(backlog) for backlog in self)

    def __iter__(self) -> Iterator[Backlog[Work]]:
        return iter(self._backlog_by_priority.values())

    def __getitem__(self, priority: Priority) -> Backlog[Work]:
        return self._backlog_by_priority[priority]

    @property
    def next_priority(self) -> Priority:
        """The class that the next batch comes from."""
        return Priority.INTERACTIVE if self[Priority.INTERACTIVE] else Priority.BULK
