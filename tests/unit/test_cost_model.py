import random

import pytest

from chassis.cost_model import CostModel


def observed(*observations: tuple[int, float]) -> CostModel:
    cost_model = CostModel()
    for padded_tokens, seconds in observations:
        cost_model.observe(padded_tokens, seconds)
    return cost_model


def test_before_any_observation_everything_costs_nothing() -> None:
    assert CostModel().seconds(10_000) == 0
    assert CostModel().share(10_000, 100) == 0


def test_the_line_is_found_through_noise() -> None:
    rng = random.Random(1)
    sizes = [rng.randint(10, 4000) for _ in range(200)]
    cost_model = observed(*((size, (0.004 + 0.0001 * size) * rng.uniform(0.95, 1.05)) for size in sizes))
    assert cost_model.seconds(100) == pytest.approx(0.014, rel=0.3)
    assert cost_model.seconds(4000) == pytest.approx(0.404, rel=0.05)


def test_batches_of_one_size_are_predicted_right_at_that_size() -> None:
    assert observed(*[(500, 0.05)] * 10).seconds(500) == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize(
    "observations",
    [
        pytest.param([(100, 0.001), (1000, 0.1)], id="a line that would start below zero"),
        pytest.param([(100, 0.1), (1000, 0.08)], id="a line that would fall"),
    ],
)
def test_no_prediction_is_negative_and_none_falls(observations: list[tuple[int, float]]) -> None:
    cost_model = observed(*observations * 5)
    assert cost_model.fixed_s >= 0
    assert cost_model.per_token_s >= 0


def test_one_hiccup_moves_the_prediction_little() -> None:
    cost_model = observed(*[(500, 0.05), (1000, 0.1)] * 20, (500, 60.0))
    assert cost_model.seconds(500) < 0.06


def test_a_device_that_became_slower_is_believed_after_a_few_batches() -> None:
    cost_model = observed(*[(500, 0.05), (1000, 0.1)] * 20, *[(500, 0.2), (1000, 0.4)] * 20)
    assert cost_model.seconds(1000) == pytest.approx(0.4, rel=0.2)


def test_an_absurd_first_observation_is_forgotten_by_doubt() -> None:
    cost_model = observed((100, 60.0))
    for _ in range(100):
        cost_model.doubt()
    assert cost_model.seconds(100) < 0.01


def test_a_share_is_the_tokens_and_part_of_a_full_batch_s_fixed_cost() -> None:
    cost_model = observed(*[(100, 0.02), (1000, 0.11)] * 50)
    assert sum(cost_model.share(100, 1000) for _ in range(10)) == pytest.approx(0.11, rel=0.01)
    assert cost_model.share(5000, 1000) == pytest.approx(cost_model.seconds(5000))


def test_a_backlog_that_needs_padding_is_dearer_than_its_tokens() -> None:
    cost_model = observed(*[(100, 0.01), (1000, 0.1)] * 50)
    before = cost_model.share(100, 1000)
    for _ in range(20):
        cost_model.observe_backlog([100, 300], padded_tokens=600, max_tokens=1000)
    assert cost_model.share(100, 1000) == pytest.approx(1.5 * before, rel=0.05)
