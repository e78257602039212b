"""What queues and batchers tell whoever measures them. They know neither spans nor metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from chassis.backlog import Entry


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
