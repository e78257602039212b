"""What a mean over questions is worth: intervals, differences, and whether chance explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95
NUM_RESAMPLES = 9_999
SEED = 1992
_BATCH_VALUES = 2_000_000
"""Values that are resampled at once: bounds the memory."""

Values = Sequence[float]


@dataclass(frozen=True)
class Difference:
    """How one arm differs from another on the same questions."""

    mean: float
    interval: tuple[float, float] | None
    p_value: float
    """That chance alone gives so great a difference of means, either way."""
    wins: int
    losses: int
    ties: int

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "difference": self.mean,
            "interval": list(self.interval) if self.interval else None,
            "p_value": self.p_value,
            "wins": self.wins,
            "losses": self.losses,
            "ties": self.ties,
        }


def interval(values: Values) -> tuple[float, float] | None:
    """The 95 % interval of the mean by the percentile bootstrap over questions. None for fewer than two.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993. The same values give the same interval.
    """
    if len(values) < 2:
        return None
    bounds = stats.bootstrap(
        (np.asarray(values, float),),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        batch=_batch(len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(bounds.low), float(bounds.high)


def compare(ours: Values, theirs: Values) -> Difference:
    """`ours` − `theirs`, question by question in the same order.

    The p-value is the paired randomisation test's: were both the same, each question's difference could as well have
    the other sign (Smucker, Allan and Carterette, "A Comparison of Statistical Significance Tests for Information
    Retrieval Evaluation", 2007). It is exact for up to 13 questions.
    """
    differences = np.asarray(ours, float) - np.asarray(theirs, float)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Difference(
        mean=float(differences.mean()),
        interval=interval(differences.tolist()),
        p_value=_p_value(differences),
        wins=wins,
        losses=losses,
        ties=len(differences) - wins - losses,
    )


def _p_value(differences: npt.NDArray[np.float64]) -> float:
    if len(differences) < 2 or not differences.any():
        return 1.0
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=_batch(len(differences)),
        alternative="two-sided",
        rng=np.random.default_rng(SEED),
    )
    return float(test.pvalue)


def _batch(num_values: int) -> int:
    return max(1, _BATCH_VALUES // num_values)
