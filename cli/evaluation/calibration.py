"""From the reranker's evidence to probabilities, and the probability below which no answer is better than a guess.

Both are fitted on one half of the questions and judged on the other. What is written is the file that the reranker
reads (`RERANKER_CALIBRATION`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from cli.evaluation.failure import EvaluationFailed


@dataclass(frozen=True)
class Evidence:
    """What the reranker made of one question's candidates."""

    question_id: str
    candidates: Sequence[tuple[float, bool | None]]
    """Evidence (called logit here), and whether the passage is relevant; None where nobody knows."""
    is_answerable: bool

    @property
    def best_logit(self) -> float:
        """What the gateway compares with the threshold. −inf where nothing was found: always refused."""
        return max((logit for logit, _ in self.candidates), default=-math.inf)


@dataclass(frozen=True)
class Refusals:
    """What a threshold does to questions."""

    num_unanswerable: int
    num_refused: int
    num_answerable: int
    num_falsely_refused: int

    @property
    def refusals(self) -> float | None:
        """Share of the unanswerable questions that are refused. None without any."""
        return self.num_refused / self.num_unanswerable if self.num_unanswerable else None

    @property
    def false_refusals(self) -> float | None:
        """Share of the answerable questions that are refused. None without any."""
        return self.num_falsely_refused / self.num_answerable if self.num_answerable else None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"refusals": self.refusals, "false_refusals": self.false_refusals, **asdict(self)}


@dataclass(frozen=True)
class Fit:
    """probability = 1 / (1 + e^-(slope · evidence + intercept)), and what comes of it."""

    slope: float
    intercept: float
    abstention_threshold: float
    fitted: Refusals
    """On the half that it was fitted on."""
    held_out: Refusals
    held_out_brier: float | None
    """Mean squared error of the probabilities on the other half; 0 is best. None when nothing is judged there."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"fitted": self.fitted.to_dict(), "held_out": self.held_out.to_dict()}


def is_held_out(question_id: str) -> bool:
    """Which half a question belongs to: the same in every run and every set."""
    return bool(hashlib.sha256(question_id.encode()).digest()[0] & 1)


def fit(evidence: Iterable[Evidence], max_false_refusals: float) -> Fit:
    """Slope, intercept and threshold from one half, and how they do on both.

    Raises EvaluationFailed when that half has no relevant or no irrelevant passages, or when higher logits do not
    mean more relevance.
    """
    halves: tuple[list[Evidence], list[Evidence]] = ([], [])
    for one in evidence:
        halves[is_held_out(one.question_id)].append(one)
    slope, intercept = fit_platt(*_judged(halves[0]))
    threshold_logit = choose_threshold(halves[0], max_false_refusals)
    return Fit(
        slope=slope,
        intercept=intercept,
        abstention_threshold=float(special.expit(slope * threshold_logit + intercept)),
        fitted=refusals(halves[0], threshold_logit),
        held_out=refusals(halves[1], threshold_logit),
        held_out_brier=_brier(*_judged(halves[1]), slope, intercept),
    )


def fit_platt(logits: npt.NDArray[np.float64], relevant: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept that make the judgements likeliest. `logits`, `relevant`: one for each passage.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999, with his targets, which keep a small or a
    perfectly separated sample from certainty. Raises EvaluationFailed.
    """
    num_relevant = int(relevant.sum())
    if not 0 < num_relevant < len(relevant):
        raise EvaluationFailed(
            f"cannot calibrate: of {len(relevant):,} judged candidates to fit on, {num_relevant:,} are relevant"
        )
    targets = np.where(relevant, (num_relevant + 1) / (num_relevant + 2), 1 / (len(relevant) - num_relevant + 2))
    # Logits of any scale: fitted on standardised ones, then put back.
    centre, scale = float(logits.mean()), float(logits.std()) or 1.0
    inputs = np.column_stack([(logits - centre) / scale, np.ones_like(logits)])

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        scores = inputs @ weights
        value = np.mean(np.logaddexp(0, scores) - targets * scores)
        return float(value), inputs.T @ (special.expit(scores) - targets) / len(targets)

    weights = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    slope = float(weights[0] / scale)
    if not slope > 0:
        raise EvaluationFailed("cannot calibrate: higher logits do not go with more relevant passages here")
    return slope, float(weights[1] - slope * centre)


def choose_threshold(evidence: Sequence[Evidence], max_false_refusals: float) -> float:
    """The logit that the best passage must reach.

    Refuses as many unanswerable questions as it can while at most that share of the answerable ones is refused, and
    no more answerable ones than that takes. It lies halfway between two questions. −inf, which refuses nobody,
    without unanswerable questions.
    """
    best = sorted((one.best_logit, one.is_answerable) for one in evidence)
    num_answerable = sum(is_answerable for _, is_answerable in best)
    num_refused = num_falsely_refused = most_refused = 0
    threshold = -math.inf
    for number, (logit, is_answerable) in enumerate(best):
        num_falsely_refused += is_answerable
        num_refused += not is_answerable
        if num_falsely_refused > max_false_refusals * num_answerable:
            break
        following = best[number + 1][0] if number + 1 < len(best) else math.inf
        if num_refused > most_refused and logit < following:
            most_refused = num_refused
            threshold = (logit + following) / 2 if math.isfinite(logit + following) else math.nextafter(logit, math.inf)
    return threshold


def refusals(evidence: Iterable[Evidence], threshold_logit: float) -> Refusals:
    """What the threshold does to these questions."""
    judged = [(one.is_answerable, one.best_logit < threshold_logit or not one.candidates) for one in evidence]
    return Refusals(
        num_unanswerable=sum(not is_answerable for is_answerable, _ in judged),
        num_refused=sum(is_refused for is_answerable, is_refused in judged if not is_answerable),
        num_answerable=sum(is_answerable for is_answerable, _ in judged),
        num_falsely_refused=sum(is_refused for is_answerable, is_refused in judged if is_answerable),
    )


def write(path: Path, fit: Fit, engine: str, model_sha256: str, made_with: str) -> None:
    """The reranker's calibration file, whole or not at all. Raises EvaluationFailed."""
    calibration = {
        "engine": engine,
        "model_sha256": model_sha256,
        "slope": fit.slope,
        "intercept": fit.intercept,
        "abstention_threshold": fit.abstention_threshold,
        "made_with": made_with,
    }
    text = json.dumps(calibration, indent=2, ensure_ascii=False) + "\n"
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            whole = Path(folder) / path.name
            with whole.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            whole.replace(path)
    except OSError as error:
        raise EvaluationFailed(f"{path}: cannot be written ({error.strerror})") from error


def _judged(evidence: Iterable[Evidence]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    pairs = [pair for one in evidence for pair in one.candidates if pair[1] is not None]
    return np.array([logit for logit, _ in pairs], float), np.array([relevant for _, relevant in pairs], bool)


def _brier(
    logits: npt.NDArray[np.float64], relevant: npt.NDArray[np.bool_], slope: float, intercept: float
) -> float | None:
    if not len(logits):
        return None
    return float(np.mean((special.expit(slope * logits + intercept) - relevant) ** 2))
