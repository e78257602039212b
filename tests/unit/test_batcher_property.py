"""Random traffic against a batcher in simulated time, and everything that must hold whatever happens.

The model of what may happen is simple: every call ends once, in one of a few ways, each with its reason. The rest
is watched from outside, at the moments when a batch is taken, starts and ends.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.batcher import Batcher
from chassis.cost_model import CostModel
from chassis.deadline import Deadline
from chassis.errors import DeadlinePassed, Overloaded, Unavailable
from chassis.observer import BatchReport
from chassis.queue import Entry, Priority, Queue, Run
from tests import simulated_time
from tests.simulated_time import SimulatedExecutor, now

MAX_TOKENS = 100
MAX_ENTRIES = 12
PREPARE_S = 0.01
TOLERANCE_S = 1e-6


class Poisoned(Exception):
    pass


@dataclass(frozen=True)
class Call:
    """What one caller does."""

    arrives_at: float
    cost: int
    patience_s: float
    """Until its deadline."""
    leaves_after_s: float
    """When it cancels, if it still waits."""
    priority: Priority
    group_size: int
    is_poison: bool

    @property
    def deadline(self) -> float:
        return self.arrives_at + self.patience_s


@dataclass(frozen=True)
class Traffic:
    calls: list[Call]
    closes_at: float
    fixed_s: float
    per_token_s: float
    max_skips: int
    pads: bool


@dataclass(frozen=True)
class Item:
    call: int
    position: int
    cost: int
    is_poison: bool


@dataclass(frozen=True)
class Items:
    items: Sequence[Item]

    @property
    def num_tokens(self) -> int:
        return sum(item.cost for item in self.items)

    @property
    def num_padded_tokens(self) -> int:
        return len(self.items) * max(item.cost for item in self.items)


def _computed(work: Items | list[Item], pads: bool) -> int:
    """Tokens of a batch, whether it is tokenised ahead or with the forward pass."""
    batch = Items(work) if isinstance(work, list) else work
    return batch.num_padded_tokens if pads else batch.num_tokens


@dataclass(frozen=True)
class Echo:
    pads: bool

    def cost(self, item: Item) -> int:
        return item.cost

    def prepare(self, items: Sequence[Item]) -> Items:
        return Items(items)

    def run(self, batch: Items) -> list[tuple[int, int]]:
        if any(item.is_poison for item in batch.items):
            raise Poisoned
        return [(item.call, item.position) for item in batch.items]


class WatchedQueue(Queue[Item]):
    """Checks what is handed out, and what is run, at the moment it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._started: set[Entry[Item]] = set()

    def take(self, max_tokens: int) -> list[Entry[Item]]:
        taken = super().take(max_tokens)
        waiting = {priority: list(self._backlogs[priority]) for priority in Priority}
        if not taken:
            assert not any(waiting.values()), "nothing handed out although something waits"
            return taken
        [priority] = {entry.priority for entry in taken}
        costs = [entry.cost for entry in taken]
        assert len(taken) == 1 or (len(costs) * max(costs) if self._pads else sum(costs)) <= max_tokens
        if not self._pads:
            assert all(max(taken, key=_rank).rank < entry.rank for entry in waiting[priority]), "one was passed over"
        assert all(min(taken, key=_rank).rank < entry.rank for entry in waiting[priority]), "the head stayed"
        assert priority == Priority.INTERACTIVE or not waiting[Priority.INTERACTIVE]
        assert all(entry.skips <= self._max_skips for entry in waiting[priority])
        return taken

    def start(self, entries: Sequence[Entry[Item]]) -> Run[Item]:
        assert not any(entry.future.cancelled() for entry in entries), "a cancelled entry is run"
        assert all(entry.deadline > self._clock() for entry in entries), "an expired entry is run"
        if not self._started.intersection(entries):  # the halves of a failed batch are its own affair
            assert entries[0].priority == Priority.INTERACTIVE or not self._backlogs[Priority.INTERACTIVE]
        self._started.update(entries)
        return super().start(entries)


def _rank(entry: Entry[Item]) -> tuple[float, int]:
    return entry.rank


@dataclass
class Watch:
    """Counts what the observer hears, and when the device was busy and work waited."""

    refused_entries: Counter[str] = field(default_factory=Counter)
    dropped_entries: Counter[str] = field(default_factory=Counter)
    reports: list[BatchReport] = field(default_factory=list)
    depths: list[tuple[float, int]] = field(default_factory=list)

    def refused(self, reason: str) -> None:
        self.refused_entries[reason] += 1

    def dropped(self, reason: str) -> None:
        self.dropped_entries[reason] += 1

    def depth_changed(self, depth: int) -> None:
        self.depths.append((now(), depth))

    def batch_finished(self, report: BatchReport) -> None:
        self.reports.append(report)


class World:
    """One run of some traffic."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.watch = Watch()
        self.device = SimulatedExecutor(
            lambda work: traffic.fixed_s + traffic.per_token_s * _computed(work, traffic.pads)
        )
        self.helper = SimulatedExecutor(lambda items: PREPARE_S)
        self.queue = WatchedQueue(
            clock=now,
            cost_model=CostModel(),
            max_entries=MAX_ENTRIES,
            max_skips=traffic.max_skips,
            pads=traffic.pads,
            observer=self.watch,
        )
        self.batcher: Batcher[Item, tuple[int, int]] = Batcher(
            Echo(traffic.pads), queue=self.queue, max_batch_tokens=MAX_TOKENS, device=self.device, helper=self.helper
        )

    async def live(self) -> list[str]:
        """What became of each call."""
        self.batcher.start()
        calls = [asyncio.create_task(self._call(index)) for index in range(len(self.traffic.calls))]
        await asyncio.sleep(self.traffic.closes_at)
        await self.batcher.close()
        return await asyncio.gather(*calls)

    async def _call(self, index: int) -> str:
        call = self.traffic.calls[index]
        await asyncio.sleep(call.arrives_at)
        items = [
            Item(index, position, call.cost + position, call.is_poison and position == 0)
            for position in range(call.group_size)
        ]
        try:
            async with asyncio.timeout(call.leaves_after_s):
                served = await self.batcher.submit_many(items, deadline=Deadline(call.deadline), priority=call.priority)
        except (Overloaded, DeadlinePassed, Unavailable, Poisoned, TimeoutError) as error:
            return type(error).__name__
        assert [one.output for one in served] == [(item.call, item.position) for item in items]
        return "served"


seconds = st.integers(0, 800).map(lambda hundredths: hundredths / 100 + 0.003)
calls = st.builds(
    Call,
    arrives_at=seconds,
    cost=st.one_of(st.integers(1, 40), st.integers(1, 150)),
    patience_s=st.one_of(st.just(math.inf), seconds),
    leaves_after_s=st.one_of(st.just(1000.0), seconds),
    priority=st.sampled_from(Priority),
    group_size=st.sampled_from([1, 1, 1, 2, 5]),
    is_poison=st.integers(0, 9).map(lambda number: number == 0),
)
traffics = st.builds(
    Traffic,
    calls=st.lists(calls, min_size=1, max_size=40),
    closes_at=st.one_of(st.just(200.0), seconds),
    fixed_s=st.sampled_from([0.0, 0.05, 0.5]),
    per_token_s=st.sampled_from([0.0001, 0.002, 0.01]),
    max_skips=st.integers(0, 4),
    pads=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(traffics)
def test_whatever_happens_every_call_ends_once_and_rightly(traffic: Traffic) -> None:
    world, outcomes = simulated_time.run(_live(traffic))
    for call, outcome in zip(traffic.calls, outcomes, strict=True):
        _check_outcome(traffic, call, outcome)
    _check_sums(world)
    _check_that_the_device_never_idles_while_work_waits(world)


async def _live(traffic: Traffic) -> tuple[World, list[str]]:
    world = World(traffic)
    return world, await world.live()


def _check_outcome(traffic: Traffic, call: Call, outcome: str) -> None:
    if outcome == "served":
        assert not call.is_poison
    elif outcome == "Poisoned":
        assert call.is_poison
    elif outcome == "Unavailable":
        assert traffic.closes_at < call.arrives_at + call.leaves_after_s
    elif outcome == "DeadlinePassed":
        assert call.patience_s < math.inf
    elif outcome == "TimeoutError":
        assert call.leaves_after_s < 1000


def _check_sums(world: World) -> None:
    statistics, queue = world.queue.statistics, world.queue
    assert queue.depth == 0
    assert not any(backlog.tokens for backlog in queue._backlogs)
    assert not queue._in_hand
    dropped = {reason: statistics[reason] for reason in ("cancelled", "expired", "hopeless", "draining")}
    assert statistics["submitted"] == sum(call.group_size for call in world.traffic.calls)
    assert statistics["submitted"] == (
        statistics["refused"] + statistics["served"] + statistics["failed"] + sum(dropped.values())
    )
    assert +Counter(dropped) == world.watch.dropped_entries
    assert statistics["refused"] == world.watch.refused_entries.total()


def _check_that_the_device_never_idles_while_work_waits(world: World) -> None:
    """Between two batches with work waiting there is time to tokenise, once per batch that was given up or
    formed, and nothing else."""
    busy = sorted(world.device.busy + world.helper.busy)
    changes = [*world.watch.depths, (math.inf, 0)]
    for (since, depth), (until, _) in itertools.pairwise(changes):
        if depth:
            idle_s = (until - since) - _covered(busy, since, until)
            assert idle_s <= TOLERANCE_S, f"idle for {idle_s} s at {since} while {depth} wait"


def _covered(busy: list[tuple[float, float]], since: float, until: float) -> float:
    covered, reached = 0.0, since
    for start, end in busy:
        covered += max(0.0, min(end, until) - max(start, reached))
        reached = max(reached, min(end, until))
    return covered
