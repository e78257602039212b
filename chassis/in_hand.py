"""What has left the queue and is not done: taken to run next, or running. Newcomers wait for it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from chassis.backlog import Entry, Work
from chassis.observer import BatchReport


@dataclass(frozen=True, eq=False)
class Run(Generic[Work]):
    """Entries that the device is computing."""

    entries: Sequence[Entry[Work]]
    started_at: float
    padded_tokens: int
    """By the entries' costs, as every prediction is."""
    predicted_s: float

    def rest_s(self, now: float) -> float:
        """Predicted seconds to its end. A run that is late by some time is expected to take as long again."""
        return abs(self.started_at + self.predicted_s - now)

    def report(
        self, now: float, num_tokens: int | None, num_padded_tokens: int | None, error: BaseException | None
    ) -> BatchReport:
        """What an observer is told when it ends. Token counts are the costs unless given."""
        return BatchReport(
            self.entries,
            self.started_at,
            now,
            sum(entry.cost for entry in self.entries) if num_tokens is None else num_tokens,
            self.padded_tokens if num_padded_tokens is None else num_padded_tokens,
            error,
        )


class InHand(Generic[Work]):
    """The entries that were taken and not started, and the runs."""

    def __init__(self) -> None:
        self.taken: set[Entry[Work]] = set()
        self.runs: set[Run[Work]] = set()

    def __bool__(self) -> bool:
        return bool(self.taken or self.runs)

    def rest_s(self, now: float) -> float:
        """Predicted seconds until the device has done all of it."""
        return sum(run.rest_s(now) for run in self.runs) + sum(entry.seconds for entry in self.taken)
