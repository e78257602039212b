"""Requests that arrive on a clock of simulated waiting and real work, and what becomes of them.

The clock tells CPU seconds of this process, and jumps to the next arrival where there is nothing to do: what else the
machine does in these minutes is not counted, and nothing sleeps.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.random_writers import Request


@dataclass
class Clock:
    """CPU seconds of this process since the first arrival, without its idle ones."""

    waited_s: float = 0.0
    began: float = field(default_factory=time.process_time)
    began_wall: float = field(default_factory=time.perf_counter)

    @property
    def now(self) -> float:
        return self.waited_s + time.process_time() - self.began

    def wait_until(self, then: float) -> None:
        self.waited_s += max(0.0, then - self.now)


@dataclass(frozen=True)
class Written:
    """What a way has written."""

    texts: dict[int, str]
    """By the request's number."""
    waits_s: list[float]
    """From arrival to last token."""
    num_tokens: int
    cpu_s: float
    wall_s: float


class Way(ABC):
    """Made once for a checkpoint."""

    @abstractmethod
    def begin(self, number: int, request: Request) -> None:
        """It has arrived."""

    @abstractmethod
    def go_on(self, clock: Clock) -> dict[int, tuple[str, float]]:
        """Work for as long as nobody can be let in; texts, and the times at which they ended. Empty: nothing to do."""

    @property
    @abstractmethod
    def is_idle(self) -> bool: ...


def write(way: Way, requests: Sequence[Request], arrivals_s: Sequence[float]) -> Written:
    """All requests, each not before it arrives. `arrivals_s` ascend."""
    clock, num_begun, ended = Clock(), 0, dict[int, tuple[str, float]]()
    while len(ended) < len(requests):
        if way.is_idle and num_begun < len(requests):
            clock.wait_until(arrivals_s[num_begun])
        while num_begun < len(requests) and arrivals_s[num_begun] <= clock.now:
            way.begin(num_begun, requests[num_begun])
            num_begun += 1
        ended |= way.go_on(clock)
    return Written(
        texts={number: text for number, (text, _) in ended.items()},
        waits_s=[ended[number][1] - arrival for number, arrival in enumerate(arrivals_s)],
        num_tokens=sum(request.length for request in requests),
        cpu_s=time.process_time() - clock.began,
        wall_s=time.perf_counter() - clock.began_wall,
    )
