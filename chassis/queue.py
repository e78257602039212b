"""What waits for the device, and what the device gets next.

Two classes, interactive and bulk; in each the earliest deadline goes first. The batcher draws whole batches from
here, a decoding loop single entries; both tell when the device starts and ends, which teaches the cost model.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic

from chassis.admission import Admission, Refused
from chassis.backlog import Backlog, Backlogs, Entry, Priority, Work
from chassis.cost_model import CostModel
from chassis.deadline import Deadline
from chassis.errors import DeadlinePassed, Unavailable
from chassis.in_hand import InHand, Run
from chassis.observer import BatchReport, Observer, Silent
from chassis.saturation import Saturation
from chassis.selection import Selection, select

__all__ = ["Entry", "Priority", "Queue", "Run"]


class Queue(Generic[Work]):
    """One device's work. Lives on the event loop; every method but `wait` returns at once."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        cost_model: CostModel,
        max_entries: int,
        max_skips: int,
        pads: bool = True,
        observer: Observer | None = None,
    ) -> None:
        """`pads`: in a batch a short entry costs as much as the longest. Where it does not, nobody is passed over."""
        self.statistics: Counter[str] = Counter()
        """Entries by what became of them: submitted = refused + served + failed + cancelled + expired +
        hopeless + draining + those on their way."""
        self.saturation = Saturation(clock)
        self.is_closed = False
        self._clock = clock
        self._cost_model = cost_model
        self._max_skips = max_skips
        self._pads = pads
        self._observer = observer or Silent()
        self._backlogs: Backlogs[Work] = Backlogs()
        self._in_hand: InHand[Work] = InHand()
        self._admission = Admission(
            clock=clock,
            cost_model=cost_model,
            max_entries=max_entries,
            backlogs=self._backlogs,
            in_hand=self._in_hand,
        )
        self._waiters: dict[asyncio.Future[None], int] = {}

    @property
    def now(self) -> float:
        """Clock seconds."""
        return self._clock()

    # What waits

    @property
    def depth(self) -> int:
        """Entries that wait."""
        return len(self._backlogs)

    @property
    def next_priority(self) -> Priority:
        """The class that the next batch comes from."""
        return self._backlogs.next_priority

    @property
    def max_runs(self) -> int:
        """Runs that share the device. One: each waits until all before it have ended."""
        return self._admission.max_runs

    @max_runs.setter
    def max_runs(self, max_runs: int) -> None:
        self._admission.max_runs = max_runs

    async def wait(self, tokens: int = 1) -> None:
        """Until so many tokens wait in the class that goes next, or the queue is closed."""
        if self._has(tokens):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = tokens
        try:
            await waiter
        finally:
            del self._waiters[waiter]

    # In

    def submit(
        self, work: Work, *, cost: int, deadline: Deadline, priority: Priority = Priority.INTERACTIVE
    ) -> Entry[Work]:
        """Queue `work` of `cost` tokens. Raises Overloaded, DeadlinePassed or Unavailable at once."""
        return self.submit_many([work], costs=[cost], deadline=deadline, priority=priority)[0]

    def submit_many(
        self,
        works: Sequence[Work],
        *,
        costs: Sequence[int],
        deadline: Deadline,
        priority: Priority = Priority.INTERACTIVE,
    ) -> list[Entry[Work]]:
        """Queue all of `works` or, by the same errors, none. More of them than `max_entries` are let in when none
        of their class waits."""
        self.statistics["submitted"] += len(works)
        self.saturation.offer(sum(map(self._admission.price, costs)))
        self._drop_expired()
        try:
            if self.is_closed:
                raise Refused("draining", _draining())
            entries = self._admission.admit(works, costs, deadline, priority)
        except Refused as refused:
            self._count_refused(refused.reason, len(works))
            raise refused.error from None
        self._changed()
        return entries

    def restore(self, entries: Iterable[Entry[Work]]) -> None:
        """Put entries that were taken and not run back in their places."""
        for entry in entries:
            self._in_hand.taken.discard(entry)
            if entry.outcome is None:
                self._backlogs[entry.priority].add(entry)
        self._changed()

    # Out

    def take(self, max_tokens: int) -> list[Entry[Work]]:
        """The next batch: n × longest ≤ `max_tokens` (without padding, their sum), or a single entry. Empty only if
        nothing waits."""
        self._admission.max_batch_tokens = max_tokens
        self._drop_expired()
        for backlog in self._backlogs:
            now = self._clock()
            selection = select(
                backlog,
                self._cost_model,
                now=now,
                starts_at=now + self._in_hand.rest_s(now),
                max_tokens=max_tokens,
                max_skips=self._max_skips,
                pads=self._pads,
            )
            for entry in selection.lost:
                self._drop(entry, "hopeless")
            if selection.chosen:
                return self._hand_out(backlog, selection)
        return []

    def keep(self, entry: Entry[Work]) -> bool:
        """Whether a taken entry is still worth running. One whose caller left or whose time is over is dropped."""
        if entry.future.cancelled():
            self.cancel(entry)
        elif entry.deadline <= self._clock():
            self._drop(entry, "expired")
        return entry.outcome is None

    def cancel(self, entry: Entry[Work]) -> None:
        """The caller left: free its place. Nothing happens if the entry is done."""
        if entry.outcome is None:
            self._end(entry, "cancelled")
            entry.future.cancel()
            self._observer.dropped("cancelled")

    # On the device

    def start(self, entries: Sequence[Entry[Work]]) -> Run[Work]:
        """The device begins with `entries`."""
        padded_tokens = self._padded([entry.cost for entry in entries])
        self._in_hand.taken.difference_update(entries)
        run = Run(entries, self._clock(), padded_tokens, self._cost_model.seconds(padded_tokens))
        self._in_hand.runs.add(run)
        return run

    def pause(self, run: Run[Work]) -> None:
        """The device lets go of a run that is not done. `keep` tells whether anybody still waits for its entries."""
        self._in_hand.runs.discard(run)
        self._in_hand.paused.add(run)

    def resume(self, run: Run[Work]) -> None:
        """The device goes on with a run that was paused."""
        self._in_hand.paused.discard(run)
        self._in_hand.runs.add(run)

    def finish(
        self,
        run: Run[Work],
        *,
        num_tokens: int | None = None,
        num_padded_tokens: int | None = None,
        error: BaseException | None = None,
    ) -> BatchReport:
        """The device is done. Token counts are the costs unless given; a run with an error teaches nothing."""
        self._in_hand.runs.discard(run)
        self._in_hand.paused.discard(run)
        if not self._pads:
            num_padded_tokens = num_tokens
        report = run.report(self._clock(), num_tokens, num_padded_tokens, error)
        if error is None:
            self._admission.learn(run.padded_tokens, run.device_s(report.ended_at))
        self._observer.batch_finished(report)
        return report

    def serve(self, entry: Entry[Work], output: Any) -> None:
        """Give the caller its output, if it still waits for it."""
        if entry.future.cancelled():
            self.cancel(entry)
        elif entry.outcome is None:
            self._end(entry, "served")
            entry.future.set_result(output)

    def fail(self, entry: Entry[Work], error: BaseException) -> None:
        """Give the caller the error, if it still waits."""
        if entry.future.cancelled():
            self.cancel(entry)
        elif entry.outcome is None:
            self._end(entry, "failed")
            entry.future.set_exception(error)

    def close(self) -> None:
        """Refuse from now on; what waits or was taken and not started fails as Unavailable. Idempotent."""
        self.is_closed = True
        for entry in [*self._in_hand.taken, *itertools.chain(*self._backlogs)]:
            self._drop(entry, "draining")
        self._changed()

    # Inside

    def _hand_out(self, backlog: Backlog[Work], selection: Selection[Work]) -> list[Entry[Work]]:
        for entry in selection.passed_over:
            entry.skips += 1
        for entry in selection.chosen:
            backlog.discard(entry)
        self._in_hand.taken.update(selection.chosen)
        costs = [entry.cost for entry in selection.chosen]
        if backlog.tokens >= sum(costs):
            self._cost_model.observe_backlog(costs, self._padded(costs), self._admission.max_batch_tokens)
        self._changed()
        return selection.chosen

    def _padded(self, costs: Sequence[int]) -> int:
        return len(costs) * max(costs) if self._pads else sum(costs)

    def _drop_expired(self) -> None:
        for backlog in self._backlogs:
            while (head := next(iter(backlog), None)) and head.deadline <= self._clock():
                self._drop(head, "expired")

    def _count_refused(self, reason: str, num_entries: int) -> None:
        self.statistics["refused"] += num_entries
        for _ in range(num_entries):
            self._observer.refused(reason)

    def _drop(self, entry: Entry[Work], reason: str) -> None:
        if entry.future.cancelled():
            self.cancel(entry)
        elif entry.outcome is None:
            self._end(entry, reason)
            entry.future.set_exception(_draining() if reason == "draining" else DeadlinePassed())
            self._observer.dropped(reason)

    def _end(self, entry: Entry[Work], outcome: str) -> None:
        entry.outcome = outcome
        self.statistics[outcome] += 1
        self._in_hand.taken.discard(entry)
        self._backlogs[entry.priority].discard(entry)
        self._changed()

    def _changed(self) -> None:
        """Tell the observer, and wake those who waited for as much as waits now."""
        self._observer.depth_changed(self.depth)
        for waiter, tokens in self._waiters.items():
            if not waiter.done() and self._has(tokens):
                waiter.set_result(None)

    def _has(self, tokens: int) -> bool:
        return self.is_closed or self._backlogs[self.next_priority].tokens >= tokens


def _draining() -> Unavailable:
    return Unavailable("DRAINING", "this process is about to stop and takes no new work")
