"""Intervals and p-values against what can be known without a library."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cli.evaluation import statistics


def test_the_interval_is_that_of_the_normal_for_many_values() -> None:
    values = np.random.default_rng(7).normal(0.5, 0.2, 400)
    low, high = statistics.interval(values.tolist()) or (0.0, 0.0)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.002)


def test_the_interval_is_the_same_every_time() -> None:
    values = [0.0, 0.25, 1.0, 0.5, 0.125]
    assert statistics.interval(values) == statistics.interval(values)


def test_equal_values_have_no_width_and_one_value_has_no_interval() -> None:
    assert statistics.interval([0.5] * 10) == (0.5, 0.5)
    assert statistics.interval([0.5]) is None
    assert statistics.interval([]) is None


def test_the_p_value_of_a_few_questions_counts_every_assignment_of_signs() -> None:
    ours, theirs = [0.9, 0.8, 0.7, 0.4, 0.9], [0.5, 0.6, 0.6, 0.5, 0.2]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    as_great = [
        abs(sum(sign * one for sign, one in zip(signs, differences, strict=True))) >= abs(sum(differences)) - 1e-12
        for signs in itertools.product((1, -1), repeat=5)
    ]
    found = statistics.compare(ours, theirs)
    assert found.p_value == pytest.approx(sum(as_great) / 32)
    assert found.mean == pytest.approx(sum(differences) / 5)
    assert (found.wins, found.losses, found.ties) == (4, 1, 0)


def test_what_does_not_differ_is_no_matter_of_chance() -> None:
    found = statistics.compare([0.5] * 40, [0.5] * 40)
    assert (found.p_value, found.mean, found.ties, found.interval) == (1.0, 0.0, 40, (0.0, 0.0))


def test_a_difference_of_many_questions_is_significant_and_noise_is_not() -> None:
    random = np.random.default_rng(3)
    noise = random.normal(0, 0.1, 200)
    assert statistics.compare((noise + 0.05).tolist(), [0.0] * 200).p_value < 0.001
    assert statistics.compare((noise - noise.mean() + 0.002).tolist(), [0.0] * 200).p_value > 0.2


def test_the_test_has_the_size_that_it_says() -> None:
    random = np.random.default_rng(11)
    p_values = [statistics.compare(random.normal(0, 1, 10).tolist(), [0.0] * 10).p_value for _ in range(100)]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.08)


def test_one_question_says_nothing() -> None:
    found = statistics.compare([1.0], [0.0])
    assert (found.p_value, found.interval) == (1.0, None)
