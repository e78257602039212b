"""Who may wait, and what waiting work is predicted to cost.

Admission is a promise: an entry is refused at once unless it, and all that it would delay in its class, are
predicted to be done in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic

from chassis.backlog import Backlog, Backlogs, Entry, Priority, Work
from chassis.cost_model import CostModel
from chassis.deadline import Deadline
from chassis.errors import DeadlinePassed, Overloaded
from chassis.in_hand import InHand

RESERVE_BATCHES = 4
"""An entry's promise leaves room for so many full batches that take others before it for their lengths …"""

RESERVE_SHARE = 1 / 3
"""… but at most this share of its time."""

REPRICE_AT = 0.1
"""Waiting entries are priced again once the price of a full batch has moved by this share."""


class Refused(Exception):
    """Not let in. `error` is what the caller gets, `reason` what is counted."""

    def __init__(self, reason: str, error: Exception) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class Admission(Generic[Work]):
    """Lets entries into the backlogs. `in_hand` is what the device does before any of them."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        cost_model: CostModel,
        max_entries: int,
        backlogs: Backlogs[Work],
        in_hand: InHand[Work],
    ) -> None:
        self.max_batch_tokens = 1
        """Of a full batch, as the device last asked for it."""
        self.max_runs = 1
        """Runs that share the device."""
        self._clock = clock
        self._cost_model = cost_model
        self._max_entries = max_entries
        self._backlogs = backlogs
        self._in_hand = in_hand
        self._priced_at = 0.0
        self._orders = 0

    def admit(
        self, works: Sequence[Work], costs: Sequence[int], deadline: Deadline, priority: Priority
    ) -> list[Entry[Work]]:
        """All of `works` in their backlog. Raises Refused, and then none is."""
        if deadline.at <= self._clock():
            raise Refused("expired", DeadlinePassed())
        if not self._has_room(len(works), priority):
            raise Refused("full", Overloaded("the queue is full", self._all_s()))
        entries = [self._entry(work, cost, deadline.at, priority) for work, cost in zip(works, costs, strict=True)]
        if entries:
            self._add(entries, self._backlogs[priority])
        return entries

    def price(self, cost: int) -> float:
        """Predicted seconds of device work of `cost` tokens, as part of a full batch."""
        return self._cost_model.share(max(1, cost), self.max_batch_tokens)

    def learn(self, padded_tokens: int, seconds: float) -> None:
        """The device took so long. What waits is priced again where that changes much."""
        self._cost_model.observe(padded_tokens, seconds)
        price = self.price(self.max_batch_tokens)
        if abs(price - self._priced_at) > REPRICE_AT * self._priced_at:
            self._priced_at = price
            for backlog in self._backlogs:
                backlog.reprice(self.price)

    def _has_room(self, num_entries: int, priority: Priority) -> bool:
        """A group larger than all the room goes in when none of its class waits: else it never could."""
        if num_entries > self._max_entries:
            return not self._backlogs[priority]
        return len(self._backlogs) + num_entries <= self._max_entries

    def _entry(self, work: Work, cost: int, deadline: float, priority: Priority) -> Entry[Work]:
        now = self._clock()
        reserve = RESERVE_BATCHES * self._cost_model.seconds(self.max_batch_tokens)
        self._orders += 1
        return Entry(
            work=work,
            cost=max(1, cost),
            deadline=deadline,
            priority=priority,
            queued_at=now,
            order=self._orders,
            due=deadline - min(reserve, RESERVE_SHARE * (deadline - now)),
            seconds=self.price(cost),
            future=asyncio.get_running_loop().create_future(),
        )

    def _add(self, entries: Sequence[Entry[Work]], backlog: Backlog[Work]) -> None:
        """The entries, which share class and deadline, if with them every promise still holds."""
        was_idle = not (self._backlogs or self._in_hand)
        for entry in entries:
            backlog.add(entry)
        if backlog.keeps_its_promises(entries[0], self._clock() + self._wait_s(entries[0])):
            return
        for entry in entries:
            backlog.discard(entry)
        if was_idle:
            self._cost_model.doubt()
        raise Refused("late", Overloaded("it would be late", self._all_s()))

    def _wait_s(self, newcomer: Entry[Work]) -> float:
        """Predicted seconds of the device before the waiting entries of the newcomer's class are begun. Where runs
        share it, what the newcomer waits for them until it is done."""
        ahead = self._cost_model.fixed_s + self._rest_s(newcomer)
        return ahead + sum(self._backlogs[other].seconds() for other in Priority if other < newcomer.priority)

    def _rest_s(self, newcomer: Entry[Work]) -> float:
        now = self._clock()
        if self.max_runs == 1:
            return self._in_hand.rest_s(now)
        num_ends = len(self._in_hand) + len(self._backlogs) - self.max_runs
        return self._in_hand.rest_s(now, newcomer.seconds, num_ends)

    def _all_s(self) -> float:
        """Predicted seconds until all is done that is here."""
        return self._in_hand.rest_s(self._clock()) + sum(backlog.seconds() for backlog in self._backlogs)
