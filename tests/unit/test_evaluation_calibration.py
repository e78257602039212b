"""Probabilities and the threshold: fitted on one half, judged on the other, written as the reranker reads them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cli.evaluation import calibration
from cli.evaluation.calibration import Evidence, Refusals
from cli.evaluation.failure import EvaluationFailed
from services.reranker.calibration import load_calibration

SHA256 = "5" * 64


def questions(*best: tuple[float, bool]) -> list[Evidence]:
    return [
        Evidence(str(number), [(logit - 1, False), (logit, is_answerable)], is_answerable)
        for number, (logit, is_answerable) in enumerate(best)
    ]


def drawn(count: int, slope: float, intercept: float, seed: int = 5) -> list[Evidence]:
    """Candidates whose relevance truly is logistic in the logit."""
    random = np.random.default_rng(seed)
    logits = random.normal(0.4, 0.2, (count, 10))
    relevant = random.random((count, 10)) < 1 / (1 + np.exp(-(slope * logits + intercept)))
    return [
        Evidence(
            f"q{number}", list(zip(logits[number].tolist(), relevant[number].tolist(), strict=True)), number % 3 > 0
        )
        for number in range(count)
    ]


def test_the_fit_finds_the_slope_and_intercept_that_made_the_judgements() -> None:
    fit = calibration.fit(drawn(3_000, slope=12, intercept=-6), max_false_refusals=0.05)
    assert (fit.slope, fit.intercept) == pytest.approx((12, -6), rel=0.1)


def test_probabilities_of_the_half_that_was_held_out_are_right_on_average() -> None:
    evidence = drawn(3_000, slope=12, intercept=-6)
    fit = calibration.fit(evidence, max_false_refusals=0.05)
    held_out = [pair for one in evidence if calibration.is_held_out(one.question_id) for pair in one.candidates]
    probability = 1 / (1 + np.exp(-(fit.slope * np.array([logit for logit, _ in held_out]) + fit.intercept)))
    relevant = np.array([relevant for _, relevant in held_out], bool)
    for low in (0.0, 0.25, 0.5, 0.75):
        chosen = (probability >= low) & (probability < low + 0.25)
        assert relevant[chosen].mean() == pytest.approx(probability[chosen].mean(), abs=0.03)
    assert fit.held_out_brier == pytest.approx(np.mean((probability - relevant) ** 2))


def test_perfect_separation_still_has_a_finite_slope() -> None:
    slope, intercept = calibration.fit_platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert 0 < slope < 100
    assert 1 / (1 + math.exp(-(slope * 0.9 + intercept))) < 1


@pytest.mark.parametrize(
    ("logits", "relevant", "reason"),
    [
        ([0.1, 0.9], [False, False], "0 are relevant"),
        ([0.1, 0.9], [True, True], "2 are relevant"),
        ([], [], "of 0 judged"),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], "higher logits do not go with"),
        ([0.5, 0.5, 0.5], [True, True, False], "higher logits do not go with"),
    ],
    ids=["none-relevant", "all-relevant", "nothing", "upside-down", "constant"],
)
def test_what_cannot_be_calibrated_is_refused(logits: list[float], relevant: list[bool], reason: str) -> None:
    with pytest.raises(EvaluationFailed, match=reason):
        calibration.fit_platt(np.array(logits), np.array(relevant, bool))


def test_the_threshold_refuses_what_it_may_and_lies_between_questions() -> None:
    evidence = questions((0.1, False), (0.2, False), (0.3, True), (0.4, False), (0.8, True), (0.9, True), (1.0, True))
    assert calibration.choose_threshold(evidence, 0.0) == pytest.approx(0.25)
    assert calibration.choose_threshold(evidence, 0.25) == pytest.approx(0.6)
    assert calibration.refusals(evidence, 0.6) == Refusals(3, 3, 4, 1)


def test_no_answerable_question_is_refused_for_nothing() -> None:
    evidence = questions((0.1, False), (0.3, True), (0.8, True), (0.9, True))
    assert calibration.choose_threshold(evidence, 0.5) == pytest.approx(0.2)


def test_a_tie_of_both_kinds_is_not_split() -> None:
    evidence = questions((0.1, False), (0.3, True), (0.3, False), (0.9, True))
    threshold = calibration.choose_threshold(evidence, 0.0)
    assert calibration.refusals(evidence, threshold) == Refusals(2, 1, 2, 0)


def test_without_unanswerable_questions_nobody_is_refused() -> None:
    assert calibration.choose_threshold(questions((0.1, True), (0.9, True)), 1.0) == -math.inf


def test_a_question_without_candidates_is_refused_anyway() -> None:
    evidence = [Evidence("q", [], False), Evidence("r", [(0.5, True)], True)]
    assert calibration.refusals(evidence, -math.inf) == Refusals(1, 1, 1, 0)
    assert calibration.choose_threshold(evidence, 0.0) < 0.5


def test_the_halves_are_the_same_every_time_and_nearly_equal() -> None:
    held_out = [calibration.is_held_out(f"question {number}") for number in range(1_000)]
    assert held_out[:8] == [calibration.is_held_out(f"question {number}") for number in range(8)]
    assert 450 < sum(held_out) < 550


def test_the_reranker_reads_what_is_written_and_gives_the_threshold_its_place(tmp_path: Path) -> None:
    evidence = drawn(400, slope=12, intercept=-6)
    fit = calibration.fit(evidence, max_false_refusals=0.05)
    path = tmp_path / "calibration.json"
    calibration.write(path, fit, "late-interaction", SHA256, "a test")
    read = load_calibration(path, "late-interaction", SHA256)
    refused = [
        one
        for one in evidence
        if not calibration.is_held_out(one.question_id) and read.probability(one.best_logit) < read.abstention_threshold
    ]
    assert sum(not one.is_answerable for one in refused) == fit.fitted.num_refused
    assert sum(one.is_answerable for one in refused) == fit.fitted.num_falsely_refused
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    fit = calibration.fit(drawn(100, slope=12, intercept=-6), max_false_refusals=0.05)
    (tmp_path / "calibration.json").mkdir()
    with pytest.raises(EvaluationFailed, match=r"calibration\.json: cannot be written"):
        calibration.write(tmp_path / "calibration.json", fit, "late-interaction", SHA256, "a test")
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
