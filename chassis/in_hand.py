"""What has left the queue and is not done: taken to run next, running, or paused. Newcomers wait for it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from chassis.backlog import Entry, Work
from chassis.observer import BatchReport


@dataclass(eq=False)
class Run(Generic[Work]):
    """Entries that the device is computing."""

    entries: Sequence[Entry[Work]]
    started_at: float
    padded_tokens: int
    """By the entries' costs, as every prediction is."""
    predicted_s: float
    spent_s: float | None = None
    """What it has had of a device that it shares with other runs. None: it has the device to itself."""

    def spend(self, seconds: float) -> None:
        """It has had so much more of a device that it shares."""
        self.spent_s = (self.spent_s or 0.0) + seconds

    def device_s(self, now: float) -> float:
        """What it has had of the device until now."""
        return now - self.started_at if self.spent_s is None else self.spent_s

    def rest_s(self, now: float) -> float:
        """Predicted seconds to its end. A run that is late by some time is expected to take as long again."""
        return abs(self.predicted_s - self.device_s(now))

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
    """The entries that were taken and not started, and the runs that have not ended."""

    def __init__(self) -> None:
        self.taken: set[Entry[Work]] = set()
        self.runs: set[Run[Work]] = set()
        self.paused: set[Run[Work]] = set()
        """Those that the device let go of before they were done. They go on before anything that waits."""

    def __len__(self) -> int:
        """Entries that were taken and not started, and runs."""
        return len(self.taken) + len(self.runs) + len(self.paused)

    def rest_s(self, now: float, own_s: float = math.inf, num_ends: int = 0) -> float:
        """Predicted seconds that the device spends on it before work of `own_s` is done, which begins once
        `num_ends` runs have ended. By default until all of it is done.

        Runs that share a device are served alike: each gets as much as the newcomer waits and works, or its rest.
        """
        rests = sorted(run.rest_s(now) for run in self.runs)
        waited_s = 0.0 if num_ends <= 0 else rests[num_ends - 1] if num_ends <= len(rests) else math.inf
        to_come_s = sum(entry.seconds for entry in self.taken) + sum(run.rest_s(now) for run in self.paused)
        return sum(min(rest, waited_s + own_s) for rest in rests) + to_come_s
