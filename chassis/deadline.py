"""One deadline from the caller to the last token."""

from __future__ import annotations

import contextvars
import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A point in time by `time.monotonic()`, seconds. `math.inf` means none (bulk work, tests)."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left; zero or negative once it has passed."""
        return self.at - time.monotonic()

    def is_over_for_caller(self, given_s: float) -> bool:
        """Whether a caller who gave so many seconds may have given up because of it: gRPC rounds a deadline up by as
        much as 1 % on the wire."""
        return self.remaining_s() - 0.01 * given_s <= 0.005

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or that many seconds from now, whichever comes first."""
        return Deadline(min(self.at, time.monotonic() + seconds))


NEVER = Deadline(math.inf)

_current: contextvars.ContextVar[Deadline] = contextvars.ContextVar("deadline", default=NEVER)


def current() -> Deadline:
    """The deadline of the RPC that this task serves; `NEVER` outside one. The server's interceptor sets it."""
    return _current.get()


def enter(deadline: Deadline) -> None:
    """Make `deadline` the current one for this task. Every RPC runs in a task of its own, so nothing resets it."""
    _current.set(deadline)
