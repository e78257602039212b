"""One answer on its way through the loop: what was asked, how far it has come, and what it was in the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from chassis.observer import BatchReport, BatchStats
from chassis.queue import Entry, Run
from services.generator.engine import Citations, Finish, Prompt, Sampling, Step
from services.generator.loop.buffer import Buffer
from services.generator.loop.room import Size


@dataclass(frozen=True)
class Generation:
    """A request for an answer, on its way."""

    prompt: Prompt
    sampling: Sampling
    buffer: Buffer = field(default_factory=Buffer)
    """For the reader."""


@dataclass(frozen=True)
class Ended:
    """What an answer was in the end."""

    finish: Finish
    num_tokens: int
    stats: BatchStats
    first_text_at: float | None
    """None where there was no text."""
    last_text_at: float
    """`time.perf_counter()` seconds at which the engine gave them."""
    num_first_tokens: int
    """Those until the first text, its own included."""
    stop: str | None = None
    """The stop string that ended it."""
    citations: Citations | None = None

    @property
    def seconds_per_token(self) -> float | None:
        """Mean time between two tokens since the first text. None where no token came after it."""
        num_tokens = self.num_tokens - self.num_first_tokens
        if self.first_text_at is None or not num_tokens:
            return None
        return (self.last_text_at - self.first_text_at) / num_tokens


@dataclass
class Flyer:
    """An answer on its way, and how far it has come."""

    entry: Entry[Generation]
    run: Run[Generation]
    size: Size
    num_tokens: int = 0
    finish: Finish | None = None
    stop: str | None = None
    first_text_at: float | None = None
    num_first_tokens: int = 0
    num_steps: int = 0
    num_companions: int = 0
    """In all its steps together."""
    citations: Citations | None = None

    @property
    def size_now(self) -> Size:
        """With what it has come to: what it takes, or has to be read when it joins again."""
        return replace(self.size, num_written_tokens=self.num_tokens)

    def add(self, step: Step) -> None:
        self.num_tokens += step.num_tokens
        self.finish, self.stop, self.citations = step.finish, step.stop, step.citations
        if step.text and self.first_text_at is None:
            self.first_text_at, self.num_first_tokens = time.perf_counter(), self.num_tokens
        self.entry.work.buffer.put(step)

    def ended(self, report: BatchReport) -> Ended:
        """Its batch, to whom it asks, is as large as it was on average."""
        assert self.finish
        now = time.perf_counter()
        batch_size = 1 + round(self.num_companions / max(1, self.num_steps))
        stats = replace(report.stats(self.entry), batch_size=batch_size)
        return Ended(
            finish=self.finish,
            num_tokens=self.num_tokens,
            stats=stats,
            first_text_at=self.first_text_at,
            last_text_at=now,
            num_first_tokens=self.num_first_tokens,
            stop=self.stop,
            citations=self.citations,
        )
