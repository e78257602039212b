import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from chassis.batcher import Batcher, Served, WrongNumberOfOutputs
from chassis.cost_model import CostModel
from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed, Overloaded, Unavailable
from chassis.executor import SingleThread
from chassis.observer import BatchReport, Silent
from chassis.queue import Priority, Queue
from tests import simulated_time
from tests.simulated_time import SimulatedExecutor, now


@dataclass(frozen=True)
class Texts:
    items: Sequence[str]

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.items))

    @property
    def num_padded_tokens(self) -> int:
        return len(self.items) * max(map(len, self.items))


def padded(work: Texts | list[str]) -> int:
    """Tokens of a batch, whether it is tokenised ahead or with the forward pass."""
    return (Texts(work) if isinstance(work, list) else work).num_padded_tokens


@dataclass
class Upper:
    """Answers in capitals; fails on what contains "!" when it computes, and on "?" when it tokenises."""

    ran: list[list[str]] = field(default_factory=list)
    pads = True

    def cost(self, item: str) -> int:
        return len(item)

    def prepare(self, items: Sequence[str]) -> Texts:
        if any("?" in item for item in items):
            raise ValueError("cannot tokenise")
        return Texts(items)

    def run(self, batch: Texts) -> list[str]:
        self.ran.append(list(batch.items))
        if any("!" in item for item in batch.items):
            raise ValueError("cannot compute")
        return [item.upper() for item in batch.items]


@dataclass
class Reports(Silent):
    reports: list[BatchReport] = field(default_factory=list)

    def batch_finished(self, report: BatchReport) -> None:
        self.reports.append(report)


class Bench:
    """A batcher in simulated time: 1 s per batch, 0.01 s to tokenise, 100 tokens at most."""

    def __init__(self, model: Any = None, *, seconds: Callable[[Any], float] = lambda batch: 1.0) -> None:
        self.model = model or Upper()
        self.observed = Reports()
        self.queue: Queue[str] = Queue(
            clock=now, cost_model=CostModel(), max_entries=1000, max_skips=16, observer=self.observed
        )
        self.device = SimulatedExecutor(seconds)
        self.helper = SimulatedExecutor(lambda items: 0.01)
        self.batcher: Batcher[str, str] = Batcher(
            self.model, queue=self.queue, max_batch_tokens=100, device=self.device, helper=self.helper
        )
        self.batcher.start()

    def submit(self, item: str, **options: Any) -> asyncio.Task[Served[str]]:
        return asyncio.create_task(self.batcher.submit(item, **{"deadline": NEVER} | options))


async def test_real_threads_serve_many_callers() -> None:
    device, helper = SingleThread("device"), SingleThread("helper")
    threads: set[str] = set()

    class Watched(Upper):
        def run(self, batch: Texts) -> list[str]:
            threads.add(threading.current_thread().name.rsplit("_", 1)[0])
            return super().run(batch)

    queue: Queue[str] = Queue(
        clock=asyncio.get_running_loop().time, cost_model=CostModel(), max_entries=1000, max_skips=16
    )
    batcher: Batcher[str, str] = Batcher(Watched(), queue=queue, max_batch_tokens=100, device=device, helper=helper)
    batcher.start()
    items = [f"item {number}" for number in range(200)]
    served = await asyncio.gather(*(batcher.submit(item, deadline=NEVER) for item in items))
    assert [one.output for one in served] == [item.upper() for item in items]
    assert threads == {"device"}
    await batcher.close()
    device.close()
    helper.close()


async def test_a_lone_item_is_tokenised_where_it_runs_and_what_is_ahead_beside_it() -> None:
    device, helper = SingleThread("device"), SingleThread("helper")
    is_running, is_ahead, may_end = threading.Event(), threading.Event(), threading.Event()
    threads: dict[str, str] = {}

    class Watched(Upper):
        def prepare(self, items: Sequence[str]) -> Texts:
            threads[items[0]] = threading.current_thread().name.rsplit("_", 1)[0]
            if len(threads) == 2:
                is_ahead.set()
            return super().prepare(items)

        def run(self, batch: Texts) -> list[str]:
            is_running.set()
            assert may_end.wait(5)
            return super().run(batch)

    queue: Queue[str] = Queue(clock=asyncio.get_running_loop().time, cost_model=CostModel(), max_entries=9, max_skips=4)
    batcher: Batcher[str, str] = Batcher(Watched(), queue=queue, max_batch_tokens=9, device=device, helper=helper)
    batcher.start()
    lone = asyncio.create_task(batcher.submit("lone", deadline=NEVER))
    assert await asyncio.to_thread(is_running.wait, 5)
    ahead = asyncio.create_task(batcher.submit("ahead-of-it", deadline=NEVER))
    assert await asyncio.to_thread(is_ahead.wait, 5)
    may_end.set()
    assert [one.output for one in await asyncio.gather(lone, ahead)] == ["LONE", "AHEAD-OF-IT"]
    assert threads == {"lone": "device", "ahead-of-it": "helper"}
    await batcher.close()
    device.close()
    helper.close()


async def test_stop_iteration_from_a_model_is_an_error_and_no_hang() -> None:
    thread = SingleThread("device")
    with pytest.raises(RuntimeError):
        await thread.run(next, iter([]))
    thread.close()


def test_a_lone_item_starts_at_once() -> None:
    async def test() -> None:
        bench = Bench()
        served = await bench.submit("hello")
        assert served.output == "HELLO"
        assert served.stats.queue_ms == pytest.approx(0)
        assert served.stats.compute_ms == pytest.approx(1000)
        assert (served.stats.batch_size, served.stats.num_tokens) == (1, 5)
        await bench.batcher.close()

    simulated_time.run(test())


def test_what_arrives_while_the_device_is_busy_becomes_one_batch() -> None:
    async def test() -> None:
        bench = Bench()
        first = bench.submit("first")
        await asyncio.sleep(0.5)
        others = [bench.submit(text) for text in ("seven77", "eight888")]
        served = await asyncio.gather(first, *others)
        assert bench.model.ran == [["first"], ["seven77", "eight888"]]
        assert served[1].stats.padding_ratio == pytest.approx(1 / 16)
        await bench.batcher.close()

    simulated_time.run(test())


def test_a_full_batch_is_tokenised_ahead_so_that_the_device_never_waits_for_it() -> None:
    async def test() -> None:
        bench = Bench()
        tasks = [bench.submit("x" * 50) for _ in range(6)]
        await asyncio.gather(*tasks)
        assert len(bench.device.busy) == 3
        assert bench.device.busy_s(0, 3) == pytest.approx(3)
        await bench.batcher.close()

    simulated_time.run(test())


def test_a_cancelled_caller_is_never_run_even_from_a_batch_tokenised_ahead() -> None:
    async def test() -> None:
        bench = Bench()
        bench.submit("x")
        await asyncio.sleep(0.1)
        stays, leaves = bench.submit("s" * 50), bench.submit("l" * 50)
        await asyncio.sleep(0.5)
        assert bench.queue.depth == 0, "the two were not tokenised ahead"
        leaves.cancel()
        await stays
        assert bench.model.ran == [["x"], ["s" * 50]]
        assert bench.queue.statistics["cancelled"] == 1
        await bench.batcher.close()

    simulated_time.run(test())


def test_an_item_that_expires_in_a_batch_tokenised_ahead_is_never_run() -> None:
    async def test() -> None:
        bench = Bench()
        bench.submit("x")
        await asyncio.sleep(0.1)
        expires = bench.submit("e" * 50, deadline=Deadline(0.9))
        await bench.submit("s" * 50)
        assert bench.model.ran == [["x"], ["s" * 50]]
        with pytest.raises(DeadlinePassed):
            await expires
        await bench.batcher.close()

    simulated_time.run(test())


def test_bulk_tokenised_ahead_steps_back_for_interactive_work() -> None:
    async def test() -> None:
        bench = Bench()
        bench.submit("x")
        await asyncio.sleep(0.1)
        bulk = [bench.submit("b" * 50, priority=Priority.BULK) for _ in range(2)]
        await asyncio.sleep(0.5)
        interactive = bench.submit("i")
        await asyncio.gather(*bulk, interactive)
        assert bench.model.ran == [["x"], ["i"], ["b" * 50, "b" * 50]]
        await bench.batcher.close()

    simulated_time.run(test())


@pytest.mark.parametrize("poison", ["bad!", "bad?"], ids=["fails in run", "fails in prepare"])
def test_a_poison_item_fails_alone(poison: str) -> None:
    async def test() -> None:
        bench = Bench()
        bench.submit("x")
        await asyncio.sleep(0.1)
        tasks = [bench.submit(text) for text in ["aa", "bb", poison, "cc", "dd"]]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes.pop(2), ValueError)
        assert [served.output for served in outcomes if isinstance(served, Served)] == ["AA", "BB", "CC", "DD"]
        assert bench.queue.statistics["failed"] == 1
        await bench.batcher.close()

    simulated_time.run(test())


def test_a_wrong_number_of_outputs_is_a_failure() -> None:
    class Short(Upper):
        def run(self, batch: Texts) -> list[str]:
            return []

    async def test() -> None:
        bench = Bench(Short())
        with pytest.raises(WrongNumberOfOutputs):
            await bench.submit("x")
        assert isinstance(bench.observed.reports[0].error, WrongNumberOfOutputs)
        await bench.batcher.close()

    simulated_time.run(test())


def test_a_group_is_served_in_order_whatever_the_batches() -> None:
    async def test() -> None:
        bench = Bench()
        items = ["x" * length for length in (70, 3, 40, 90, 5)]
        served = await bench.batcher.submit_many(items, deadline=NEVER)
        assert [one.output for one in served] == [item.upper() for item in items]
        await bench.batcher.close()

    simulated_time.run(test())


def test_the_first_error_of_a_group_cancels_the_rest() -> None:
    async def test() -> None:
        bench = Bench()
        with pytest.raises(ValueError, match="cannot compute"):
            await bench.batcher.submit_many(["b!" * 50, *["x" * 100] * 3], deadline=NEVER)
        assert bench.queue.depth == 0
        assert bench.queue.statistics["failed"] == 1
        await bench.batcher.close()
        assert len(bench.model.ran) <= 2

    simulated_time.run(test())


def test_closing_lets_the_running_batch_finish_and_fails_what_waits() -> None:
    async def test() -> None:
        bench = Bench()
        running = bench.submit("r")
        await asyncio.sleep(0.5)
        waiting = [bench.submit("w" * 50) for _ in range(4)]
        await asyncio.sleep(0.1)
        await asyncio.gather(bench.batcher.close(), bench.batcher.close())
        assert (await running).output == "R"
        for task in waiting:
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await bench.submit("new")

    simulated_time.run(test())


class PowerCut(BaseException):
    pass


def test_nothing_hangs_when_the_device_thread_dies() -> None:
    class Dying(Upper):
        def run(self, batch: Texts) -> list[str]:
            raise PowerCut

    async def test() -> None:
        bench = Bench(Dying())
        tasks = [bench.submit("x" * 60) for _ in range(5)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        await bench.batcher.close()

    simulated_time.run(test())


async def test_nothing_hangs_when_the_executor_is_shut_down() -> None:
    device, helper = SingleThread("device"), SingleThread("helper")
    queue: Queue[str] = Queue(
        clock=asyncio.get_running_loop().time, cost_model=CostModel(), max_entries=9, max_skips=16
    )
    batcher: Batcher[str, str] = Batcher(Upper(), queue=queue, max_batch_tokens=9, device=device, helper=helper)
    batcher.start()
    device.close()
    with pytest.raises(RuntimeError):
        await batcher.submit("x", deadline=NEVER)
    await batcher.close()
    helper.close()


def test_the_observer_sees_each_batch_with_its_callers() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.submit("hello")
        [report] = bench.observed.reports
        assert (report.batch_size, report.num_tokens, report.error) == (1, 5, None)
        assert report.queue_waits_s == [pytest.approx(0)]
        assert report.entries[0].caller is not None
        await bench.batcher.close()

    simulated_time.run(test())


SLOW_CPU = (0.005, 0.0005, 16_384)
FAST_CPU = (0.005, 0.000_05, 4096)
GPU = (0.005, 0.000_005, 16_384)
WARM_S, END_S = 5.0, 25.0


@pytest.mark.slow
@pytest.mark.parametrize("device", [SLOW_CPU, FAST_CPU, GPU], ids=["slow cpu", "fast cpu", "gpu"])
@pytest.mark.parametrize(
    "deadlines_s", [[0.5], [0.1, 0.5, 2.0], [0.25, 5.0]], ids=["one deadline", "three", "far apart"]
)
def test_at_one_and_a_half_times_capacity_promises_are_kept_and_the_device_is_busy(
    device: tuple[float, float, int], deadlines_s: list[float]
) -> None:
    """Open loop, Poisson arrivals, lengths of 8 to 180 tokens, batch times that vary by a tenth."""
    fixed_s, per_token_s, max_tokens = device
    rng = random.Random(1)
    counts: Counter[str] = Counter()

    async def ask(batcher: Batcher[str, str]) -> None:
        asked_at, deadline = now(), Deadline(now() + rng.choice(deadlines_s))
        outcome = "in time"
        try:
            await batcher.submit("x" * rng.randint(8, 180), deadline=deadline)
        except Overloaded:
            outcome = "refused"
        except DeadlinePassed:
            outcome = "late"
        if now() > deadline.at:
            outcome = "late"
        if asked_at > WARM_S:
            counts[outcome] += 1

    async def test() -> None:
        device = SimulatedExecutor(lambda work: (fixed_s + per_token_s * padded(work)) * rng.lognormvariate(0, 0.1))
        queue: Queue[str] = Queue(clock=now, cost_model=CostModel(), max_entries=5000, max_skips=16)
        helper = SimulatedExecutor(lambda items: 0.002)
        batcher: Batcher[str, str] = Batcher(
            Upper(), queue=queue, max_batch_tokens=max_tokens, device=device, helper=helper
        )
        batcher.start()
        capacity = 1 / (94 * (per_token_s + fixed_s / max_tokens))
        asking = set()
        while now() < END_S:
            asking.add(asyncio.create_task(ask(batcher)))
            await asyncio.sleep(rng.expovariate(1.5 * capacity))
        assert queue.saturation() > 1.2
        await asyncio.wait(asking)
        await batcher.close()
        busy_s = device.busy_s(WARM_S, END_S)
        admitted = counts["in time"] + counts["late"]
        assert counts["refused"] > 0
        assert counts["in time"] / admitted >= 0.95, counts
        assert busy_s / (END_S - WARM_S) >= 0.95
        assert counts["in time"] / (END_S - WARM_S) >= 0.6 * capacity

    simulated_time.run(test())
