"""One deadline, split over the stages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import deadline
from chassis.deadline import Deadline
from gateway.budget import Budget, answer_budget, search_budget
from gateway.config import GatewayConfig

SHARES = {"retriever": 0.2, "reranker": 0.3, "generator": 0.5}
CONFIG = GatewayConfig(reply_reserve_s=0.1)


def given_ms(budget: Budget, stage: str) -> float:
    with budget.stage(stage):
        pass
    return budget.stages[-1].given_ms


def test_each_stage_gets_its_share_of_what_is_left() -> None:
    budget = Budget(Deadline.after(10), SHARES)
    assert given_ms(budget, "retriever") == pytest.approx(2_000, rel=0.01)
    assert given_ms(budget, "reranker") == pytest.approx(10_000 * 0.3 / 0.8, rel=0.01)
    assert given_ms(budget, "generator") == pytest.approx(10_000, rel=0.01)


def test_what_a_stage_spends_is_measured_and_missing_later() -> None:
    budget = Budget(Deadline.after(1), SHARES)
    with budget.stage("retriever"):
        time.sleep(0.1)
    assert 100 <= budget.stages[0].spent_ms < 200
    assert given_ms(budget, "generator") <= 900


def test_a_stage_that_raises_has_spent_its_time_all_the_same() -> None:
    budget = Budget(Deadline.after(1), SHARES)
    with pytest.raises(ValueError, match="broken"), budget.stage("reranker"):
        raise ValueError("broken")
    assert [part.stage for part in budget.stages] == ["reranker"]


def test_nothing_is_given_after_the_deadline() -> None:
    assert given_ms(Budget(Deadline.after(-1), SHARES, reserve_s=0.1), "retriever") == 0


@given(
    left_s=st.floats(1, 100),
    reserve_s=st.floats(0, 10),
    shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=5),
)
def test_stages_that_use_up_all_they_get_leave_the_reserve_or_half(
    left_s: float, reserve_s: float, shares: list[float]
) -> None:
    share_by_stage = {f"stage {number}": share for number, share in enumerate(shares)}
    for name in share_by_stage:
        budget = Budget(Deadline.after(left_s), share_by_stage, reserve_s)
        given_s = given_ms(budget, name) / 1e3
        assert given_s > 0
        assert left_s - given_s >= min(reserve_s, left_s / 2) - 1e-9
        left_s -= given_s


def test_an_answer_that_needs_its_text_gives_the_generator_all_that_is_left() -> None:
    deadline.enter(Deadline.after(1))
    assert given_ms(answer_budget(CONFIG, allow_sources_only=False), "generator") == pytest.approx(1_000, abs=20)


def test_a_reply_without_the_last_stage_has_time_kept_for_it() -> None:
    deadline.enter(Deadline.after(1))
    assert given_ms(answer_budget(CONFIG, allow_sources_only=True), "generator") == pytest.approx(900, abs=20)
    assert given_ms(search_budget(CONFIG), "reranker") == pytest.approx(900, abs=20)
