import asyncio
import contextlib
import math
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from chassis.cost_model import CostModel
from chassis.deadline import NEVER, Deadline
from chassis.errors import DeadlinePassed, Overloaded, Unavailable
from chassis.queue import Entry, Priority, Queue
from tests import simulated_time
from tests.simulated_time import now


def known(fixed_s: float, per_token_s: float) -> CostModel:
    cost_model = CostModel()
    for tokens in [100, 1000] * 100:
        cost_model.observe(tokens, fixed_s + per_token_s * tokens)
    return cost_model


def queue(
    cost_model: CostModel | None = None, *, max_entries: int = 10_000, max_skips: int = 8, pads: bool = True
) -> Queue[str]:
    cost_model = cost_model or CostModel()
    return Queue(clock=now, cost_model=cost_model, max_entries=max_entries, max_skips=max_skips, pads=pads)


def works(entries: list[Entry[str]]) -> str:
    return "".join(entry.work for entry in entries)


async def serve_all(waiting: Queue[str], max_tokens: int) -> list[str]:
    served = []
    while entries := waiting.take(max_tokens):
        served.append(works(entries))
        waiting.finish(waiting.start(entries))
        for entry in entries:
            waiting.serve(entry, entry.work)
    return served


def simulated(test: Coroutine[Any, Any, None]) -> None:
    simulated_time.run(test)


def test_the_earliest_deadline_goes_first_and_equals_go_in_order_of_arrival() -> None:
    async def test() -> None:
        waiting = queue()
        for work, deadline in [("c", 3.0), ("d", math.inf), ("a", 1.0), ("b", 2.0), ("e", math.inf)]:
            waiting.submit(work, cost=1, deadline=Deadline(deadline))
        assert await serve_all(waiting, 1) == ["a", "b", "c", "d", "e"]

    simulated(test())


def test_bulk_goes_when_nothing_interactive_waits() -> None:
    async def test() -> None:
        waiting = queue()
        waiting.submit("b", cost=1, deadline=Deadline(1), priority=Priority.BULK)
        waiting.submit("i", cost=1, deadline=NEVER)
        assert await serve_all(waiting, 100) == ["i", "b"]

    simulated(test())


def test_a_batch_takes_lengths_near_the_head_s() -> None:
    async def test() -> None:
        waiting = queue()
        for work, cost in [("a", 10), ("B", 30), ("c", 11), ("D", 28), ("e", 9), ("F", 30)]:
            waiting.submit(work, cost=cost, deadline=NEVER)
        assert await serve_all(waiting, 33) == ["ace", "B", "D", "F"]

    simulated(test())


def test_where_nothing_is_padded_the_first_go_whatever_their_lengths() -> None:
    async def test() -> None:
        waiting = queue(known(0.0, 0.001), pads=False)
        for work, cost in (("a", 10), ("b", 500), ("c", 12), ("d", 400), ("e", 90), ("f", 5)):
            waiting.submit(work, cost=cost, deadline=NEVER)
        entries = waiting.take(1_000)
        assert works(entries) == "abcd"
        report = waiting.finish(waiting.start(entries), num_tokens=900, num_padded_tokens=2_000)
        assert (report.num_tokens, report.num_padded_tokens) == (900, 900)
        assert works(waiting.take(1_000)) == "ef"

    simulated_time.run(test())


def test_padding_that_costs_more_than_a_batch_of_its_own_is_left_for_later() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.001, per_token_s=0.001))
        for work, cost in [("A", 100), ("b", 10), ("C", 100), ("d", 10)]:
            waiting.submit(work, cost=cost, deadline=NEVER)
        assert await serve_all(waiting, 1000) == ["AC", "bd"]

    simulated(test())


def test_an_entry_larger_than_the_budget_goes_alone() -> None:
    async def test() -> None:
        waiting = queue()
        waiting.submit("L", cost=500, deadline=NEVER)
        waiting.submit("s", cost=5, deadline=NEVER)
        assert await serve_all(waiting, 100) == ["L", "s"]

    simulated(test())


def test_nobody_is_passed_over_more_often_than_allowed() -> None:
    async def test() -> None:
        waiting = queue(max_skips=2)
        waiting.submit("s", cost=10, deadline=NEVER)
        odd = waiting.submit("O", cost=50, deadline=NEVER)
        for _ in range(20):
            waiting.submit("s", cost=10, deadline=NEVER)
        batches = [waiting.take(100) for _ in range(3)]
        assert [odd in batch for batch in batches] == [False, True, False]

    simulated(test())


def test_a_batch_is_not_filled_beyond_the_head_s_deadline() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.001))
        waiting.submit("a", cost=100, deadline=Deadline(0.25))
        waiting.submit("b", cost=100, deadline=NEVER)
        waiting.submit("c", cost=100, deadline=NEVER)
        assert await serve_all(waiting, 1000) == ["ab", "c"]

    simulated(test())


def test_an_expired_entry_is_dropped_when_the_batch_is_formed() -> None:
    async def test() -> None:
        waiting = queue()
        late = waiting.submit("x", cost=1, deadline=Deadline(1))
        waiting.submit("y", cost=1, deadline=Deadline(9))
        await asyncio.sleep(2)
        assert works(waiting.take(100)) == "y"
        with pytest.raises(DeadlinePassed):
            await late.future
        assert waiting.statistics["expired"] == 1

    simulated(test())


def test_a_hopeless_entry_is_dropped_before_its_deadline() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=1.0, per_token_s=0.0))
        hopeless = waiting.submit("x", cost=1, deadline=Deadline(3))
        await asyncio.sleep(2.5)
        assert waiting.take(100) == []
        assert isinstance(hopeless.future.exception(), DeadlinePassed)
        assert waiting.statistics["hopeless"] == 1

    simulated(test())


def test_a_deadline_that_passed_is_refused_at_once() -> None:
    async def test() -> None:
        with pytest.raises(DeadlinePassed):
            queue().submit("x", cost=1, deadline=Deadline(0))

    simulated(test())


def test_a_group_larger_than_the_queue_goes_when_nothing_waits_and_never_on_top() -> None:
    async def test() -> None:
        waiting = queue(max_entries=10)
        group: dict[str, Any] = {"costs": [1] * 20, "deadline": NEVER}
        waiting.submit_many(["x"] * 20, **group)
        with pytest.raises(Overloaded):
            waiting.submit_many(["y"] * 20, **group)
        assert waiting.depth == 20
        await serve_all(waiting, 100)
        waiting.submit("z", cost=1, deadline=NEVER)
        with pytest.raises(Overloaded):
            waiting.submit_many(["y"] * 10, **{**group, "costs": [1] * 10})
        assert waiting.depth == 1

    simulated(test())


def test_a_group_larger_than_the_queue_waits_for_its_own_class_alone() -> None:
    async def test() -> None:
        waiting = queue(max_entries=10)
        for _ in range(10):
            waiting.submit("b", cost=1, deadline=NEVER, priority=Priority.BULK)
        waiting.submit_many(["x"] * 11, costs=[1] * 11, deadline=NEVER)
        for priority in Priority:
            with pytest.raises(Overloaded):
                waiting.submit_many(["y"] * 11, costs=[1] * 11, deadline=NEVER, priority=priority)
        assert waiting.depth == 21

    simulated(test())


def test_a_full_queue_refuses() -> None:
    async def test() -> None:
        waiting = queue(max_entries=2)
        first = waiting.submit("a", cost=1, deadline=NEVER)
        waiting.submit("b", cost=1, deadline=NEVER)
        with pytest.raises(Overloaded):
            waiting.submit("c", cost=1, deadline=NEVER)
        waiting.cancel(first)
        waiting.submit("c", cost=1, deadline=NEVER)
        assert waiting.depth == 2

    simulated(test())


def test_what_would_be_late_is_refused_and_told_when_to_come_back() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.01))
        for _ in range(10):
            waiting.submit("a", cost=100, deadline=NEVER)
        waiting.submit("early", cost=100, deadline=Deadline(2))
        with pytest.raises(Overloaded) as refusal:
            waiting.submit("late", cost=200, deadline=Deadline(2.5))
        assert refusal.value.retry_after_s == pytest.approx(11, rel=0.01)
        assert waiting.statistics["refused"] == 1
        assert waiting.depth == 11

    simulated(test())


def test_who_would_make_an_admitted_one_late_is_refused() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.01))
        for deadline in (2.6, 2.7):
            waiting.submit("a", cost=100, deadline=Deadline(deadline))
        with pytest.raises(Overloaded):
            waiting.submit("urgent", cost=100, deadline=Deadline(1.5))

    simulated(test())


def test_the_rest_of_the_running_batch_counts_for_admission() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.01))
        waiting.submit("running", cost=200, deadline=NEVER)
        run = waiting.start(waiting.take(1000))
        with pytest.raises(Overloaded):
            waiting.submit("x", cost=100, deadline=Deadline(2.5))
        await asyncio.sleep(1.8)
        waiting.submit("x", cost=100, deadline=Deadline(1.8 + 2.5))
        waiting.finish(run)

    simulated(test())


def test_a_group_is_admitted_whole_or_not_at_all() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.01))
        with pytest.raises(Overloaded):
            waiting.submit_many(["a", "b", "c"], costs=[100] * 3, deadline=Deadline(2.5))
        assert waiting.depth == 0
        waiting.submit_many(["a", "b"], costs=[100] * 2, deadline=Deadline(2.5))
        assert waiting.depth == 2

    simulated(test())


def test_one_absurd_observation_does_not_refuse_all_work_for_ever() -> None:
    async def test() -> None:
        cost_model = CostModel()
        cost_model.observe(10, 600.0)
        waiting = queue(cost_model)
        for attempt in range(200):
            try:
                waiting.submit("x", cost=10, deadline=Deadline(1.0))
            except Overloaded:
                continue
            assert attempt > 0
            return
        pytest.fail("still refused")

    simulated(test())


def test_restored_entries_go_in_their_old_places() -> None:
    async def test() -> None:
        waiting = queue()
        for work, deadline in [("a", 1), ("b", 2), ("c", 3)]:
            waiting.submit(work, cost=1, deadline=Deadline(deadline))
        waiting.restore(waiting.take(2))
        assert await serve_all(waiting, 1) == ["a", "b", "c"]

    simulated(test())


def test_a_caller_that_left_frees_its_place_and_is_never_handed_out() -> None:
    async def test() -> None:
        waiting = queue()
        by_queue = waiting.submit("a", cost=1, deadline=NEVER)
        by_future = waiting.submit("b", cost=1, deadline=NEVER)
        waiting.cancel(by_queue)
        assert waiting.depth == 1
        by_future.future.cancel()
        assert waiting.take(10) == []
        assert waiting.depth == 0
        assert waiting.statistics["cancelled"] == 2

    simulated(test())


def test_wait_returns_when_something_waits_or_the_queue_closes() -> None:
    async def test() -> None:
        waiting = queue()
        anything = asyncio.create_task(waiting.wait())
        full = asyncio.create_task(waiting.wait(10))
        await asyncio.sleep(1)
        waiting.submit("a", cost=5, deadline=NEVER)
        await asyncio.sleep(0)
        assert (anything.done(), full.done()) == (True, False)
        waiting.close()
        await full

    simulated(test())


def test_a_closed_queue_fails_what_waits_and_refuses_the_rest() -> None:
    async def test() -> None:
        waiting = queue()
        entry = waiting.submit("a", cost=1, deadline=NEVER)
        waiting.close()
        waiting.close()
        assert isinstance(entry.future.exception(), Unavailable)
        with pytest.raises(Unavailable):
            waiting.submit("b", cost=1, deadline=NEVER)

    simulated(test())


def test_a_paused_run_is_work_that_newcomers_wait_for() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.01))
        waiting.max_runs = 2
        waiting.submit("a", cost=100, deadline=NEVER)
        run = waiting.start(waiting.take(1))
        run.spend(0.5)
        waiting.pause(run)
        with pytest.raises(Overloaded):
            waiting.submit("b", cost=1, deadline=Deadline(0.4))
        waiting.submit("c", cost=1, deadline=Deadline(1.0))
        waiting.resume(run)
        waiting.finish(run)
        waiting.submit("d", cost=1, deadline=Deadline(0.4))

    simulated(test())


def test_a_queue_that_closes_lets_a_paused_run_go_on() -> None:
    async def test() -> None:
        waiting = queue()
        entry = waiting.submit("a", cost=1, deadline=NEVER)
        run = waiting.start(waiting.take(1))
        waiting.pause(run)
        waiting.close()
        assert waiting.keep(entry)
        waiting.resume(run)
        waiting.finish(run)
        waiting.serve(entry, "output")
        assert entry.future.result() == "output"

    simulated(test())


def test_who_leaves_or_is_late_while_its_run_is_paused_is_not_kept() -> None:
    async def test() -> None:
        waiting = queue()
        entries = [waiting.submit(name, cost=1, deadline=Deadline(at)) for name, at in (("a", 5), ("b", 50))]
        for _ in entries:
            waiting.pause(waiting.start(waiting.take(1)))
        entries[1].future.cancel()
        await asyncio.sleep(6)
        assert [waiting.keep(entry) for entry in entries] == [False, False]
        assert (waiting.statistics["expired"], waiting.statistics["cancelled"]) == (1, 1)

    simulated(test())


def test_saturation_is_offered_work_over_time_with_refused_work_in_it() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.0, per_token_s=0.01), max_entries=1)
        for _ in range(30):
            for _ in range(2):
                with contextlib.suppress(Overloaded):
                    waiting.submit("x", cost=100, deadline=NEVER)
            await asyncio.sleep(1)
        assert waiting.saturation() == pytest.approx(2.0, rel=0.1)
        await asyncio.sleep(20)
        assert waiting.saturation() == 0

    simulated(test())


def test_a_submission_into_thousands_stays_far_below_a_millisecond() -> None:
    async def test() -> None:
        waiting = queue(known(fixed_s=0.001, per_token_s=0.000001), max_entries=20_000)
        for number in range(5000):
            waiting.submit("x", cost=10 + number % 90, deadline=Deadline(100.0 + number * 7919 % 5000))
        started_at = time.perf_counter()
        for number in range(1000):
            waiting.submit("y", cost=10 + number % 90, deadline=Deadline(100.0 + number * 7919 % 5000))
        assert (time.perf_counter() - started_at) / 1000 < 0.000_5

    simulated(test())
