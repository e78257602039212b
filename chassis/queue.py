"""What waits for the device, what the device gets next, and who is refused because it would be late.

Two classes, interactive and bulk; in each the earliest deadline goes first. Admission is a promise: an entry is
refused at once unless it, and all that it would delay in its class, are predicted to be done in time. The batcher
draws whole batches from here, a decoding loop single entries; both tell when the device starts and ends, which
teaches the cost model.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic

from chassis.backlog import Backlog, Entry, Priority, Work
from chassis.cost_model import CostModel
from chassis.deadline import Deadline
from chassis.errors import DeadlinePassed, Overloaded, Unavailable
from chassis.in_hand import InHand, Run
from chassis.observer import BatchReport, Observer, Silent
from chassis.saturation import Saturation
from chassis.selection import Selection, select

__all__ = ["Entry", "Priority", "Queue", "Run"]

RESERVE_BATCHES = 4
"""An entry's promise leaves room for so many full batches that take others before it for their lengths …"""

RESERVE_SHARE = 1 / 3
"""… but at most this share of its time."""

REPRICE_AT = 0.1
"""Waiting entries are priced again once the price of a full batch has moved by this share."""


class Queue(Generic[Work]):
    """One device's work. Lives on the event loop; every method but `wait` returns at once."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        cost_model: CostModel,
        max_entries: int,
        max_skips: int,
        observer: Observer | None = None,
    ) -> None:
        self.statistics: Counter[str] = Counter()
        """Entries by what became of them: submitted = refused + served + failed + cancelled + expired +
        hopeless + draining + those on their way."""
        self.saturation = Saturation(clock)
        self.is_closed = False
        self._clock = clock
        self._cost_model = cost_model
        self._max_entries = max_entries
        self._max_skips = max_skips
        self._observer = observer or Silent()
        self._backlogs: dict[Priority, Backlog[Work]] = {priority: Backlog() for priority in Priority}
        self._in_hand: InHand[Work] = InHand()
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._max_tokens = 1
        self._priced_at = 0.0
        self._orders = 0

    # What waits

    @property
    def depth(self) -> int:
        """Entries that wait."""
        return sum(len(backlog) for backlog in self._backlogs.values())

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait."""
        return sum(backlog.tokens for backlog in self._backlogs.values())

    @property
    def next_priority(self) -> Priority:
        """The class that the next batch comes from."""
        return Priority.INTERACTIVE if self._backlogs[Priority.INTERACTIVE] else Priority.BULK

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
        """Queue all of `works` or, by the same errors, none."""
        self.statistics["submitted"] += len(works)
        seconds = [self._price(cost) for cost in costs]
        self.saturation.offer(sum(seconds))
        self._drop_expired()
        self._refuse_unless_open(len(works), deadline)
        entries = [
            self._entry(work, cost, price, deadline.at, priority)
            for work, cost, price in zip(works, costs, seconds, strict=True)
        ]
        self._admit(entries)
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
        """The next batch: n × longest ≤ `max_tokens`, or a single entry. Empty only if nothing waits."""
        self._max_tokens = max_tokens
        self._drop_expired()
        for backlog in self._backlogs.values():
            now = self._clock()
            selection = select(
                backlog,
                self._cost_model,
                now=now,
                starts_at=now + self._in_hand.rest_s(now),
                max_tokens=max_tokens,
                max_skips=self._max_skips,
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
        padded_tokens = len(entries) * max(entry.cost for entry in entries)
        self._in_hand.taken.difference_update(entries)
        run = Run(entries, self._clock(), padded_tokens, self._cost_model.seconds(padded_tokens))
        self._in_hand.runs.add(run)
        return run

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
        report = run.report(self._clock(), num_tokens, num_padded_tokens, error)
        if error is None:
            self._learn(run.padded_tokens, report.ended_at - run.started_at)
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
        for entry in [*self._in_hand.taken, *(entry for backlog in self._backlogs.values() for entry in backlog)]:
            self._drop(entry, "draining")
        self._changed()

    # Inside

    def _entry(self, work: Work, cost: int, seconds: float, deadline: float, priority: Priority) -> Entry[Work]:
        now = self._clock()
        reserve = RESERVE_BATCHES * self._cost_model.seconds(self._max_tokens)
        self._orders += 1
        return Entry(
            work=work,
            cost=max(1, cost),
            deadline=deadline,
            priority=priority,
            queued_at=now,
            order=self._orders,
            due=deadline - min(reserve, RESERVE_SHARE * (deadline - now)),
            seconds=seconds,
            future=asyncio.get_running_loop().create_future(),
        )

    def _refuse_unless_open(self, num_entries: int, deadline: Deadline) -> None:
        if self.is_closed:
            self._refused("draining", num_entries)
            raise _draining()
        if deadline.at <= self._clock():
            self._refused("expired", num_entries)
            raise DeadlinePassed
        if self.depth and self.depth + num_entries > self._max_entries:  # a larger group goes when none waits
            self._refused("full", num_entries)
            raise Overloaded("the queue is full", self._backlog_s())

    def _admit(self, entries: Sequence[Entry[Work]]) -> None:
        """Queue the entries, which share class and deadline, if with them every promise still holds."""
        if not entries:
            return
        was_idle = not (self.depth or self._in_hand)
        backlog = self._backlogs[entries[0].priority]
        for entry in entries:
            backlog.add(entry)
        if not backlog.keeps_its_promises(entries[0], self._clock() + self._wait_s(entries[0].priority)):
            for entry in entries:
                backlog.discard(entry)
            if was_idle:
                self._cost_model.doubt()
            self._refused("late", len(entries))
            raise Overloaded("it would be late", self._backlog_s())
        self._changed()

    def _wait_s(self, priority: Priority) -> float:
        """Predicted seconds before the first waiting entry of the class is begun."""
        ahead = self._cost_model.fixed_s + self._in_hand.rest_s(self._clock())
        return ahead + sum(self._backlogs[other].seconds() for other in Priority if other < priority)

    def _backlog_s(self) -> float:
        return self._in_hand.rest_s(self._clock()) + sum(backlog.seconds() for backlog in self._backlogs.values())

    def _price(self, cost: int) -> float:
        return self._cost_model.share(max(1, cost), self._max_tokens)

    def _hand_out(self, backlog: Backlog[Work], selection: Selection[Work]) -> list[Entry[Work]]:
        for entry in selection.passed_over:
            entry.skips += 1
        for entry in selection.chosen:
            backlog.discard(entry)
        self._in_hand.taken.update(selection.chosen)
        costs = [entry.cost for entry in selection.chosen]
        if backlog.tokens >= sum(costs):
            self._cost_model.observe_backlog(costs, len(costs) * max(costs), self._max_tokens)
        self._changed()
        return selection.chosen

    def _learn(self, padded_tokens: int, seconds: float) -> None:
        self._cost_model.observe(padded_tokens, seconds)
        price = self._price(self._max_tokens)
        if abs(price - self._priced_at) > REPRICE_AT * self._priced_at:
            self._priced_at = price
            for backlog in self._backlogs.values():
                backlog.reprice(self._price)

    def _drop_expired(self) -> None:
        for backlog in self._backlogs.values():
            while (head := next(iter(backlog), None)) and head.deadline <= self._clock():
                self._drop(head, "expired")

    def _refused(self, reason: str, num_entries: int) -> None:
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
