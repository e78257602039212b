"""What queues and batchers tell whoever measures them. They know neither spans nor metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from chassis.backlog import Entry


@dataclass(frozen=True)
class BatchStats:
    """What serving one item was like."""

    queue_ms: float
    compute_ms: float
    batch_size: int
    num_tokens: int
    num_padded_tokens: int
    """Tokens of the whole batch, without and with its padding."""

    @property
    def padding_ratio(self) -> float:
        """Share of the batch that was padding; 0 is none."""
        return 1 - self.num_tokens / self.num_padded_tokens if self.num_padded_tokens else 0.0


@dataclass(frozen=True)
class BatchReport:
    """One finished run of the device."""

    entries: Sequence[Entry[Any]]
    """Its members; each carries its caller's context."""
    started_at: float
    ended_at: float
    """Clock seconds."""
    num_tokens: int
    num_padded_tokens: int
    error: BaseException | None

    @property
    def batch_size(self) -> int:
        return len(self.entries)

    @property
    def queue_waits_s(self) -> list[float]:
        """Seconds from submission to this run, in the order of `entries`."""
        return [self.started_at - entry.queued_at for entry in self.entries]

    def stats(self, entry: Entry[Any]) -> BatchStats:
        """What the batch was for one of its members."""
        return BatchStats(
            queue_ms=(self.started_at - entry.queued_at) * 1e3,
            compute_ms=(self.ended_at - self.started_at) * 1e3,
            batch_size=self.batch_size,
            num_tokens=self.num_tokens,
            num_padded_tokens=self.num_padded_tokens,
        )


class Observer(Protocol):
    """Called on the event loop, in the middle of scheduling: return quickly, never raise."""

    def refused(self, reason: str) -> None:
        """One entry was not admitted: full, late (predicted to be), expired or draining."""

    def dropped(self, reason: str) -> None:
        """One admitted entry was not served: cancelled, expired, hopeless or draining."""

    def depth_changed(self, depth: int) -> None:
        """So many entries wait now."""

    def batch_finished(self, report: BatchReport) -> None:
        """The device finished a batch, or failed at it."""


class Silent:
    """Observes nothing."""

    def refused(self, reason: str) -> None: ...
    def dropped(self, reason: str) -> None: ...
    def depth_changed(self, depth: int) -> None: ...
    def batch_finished(self, report: BatchReport) -> None: ...
