"""Measures of rankings against values worked out by hand."""

from __future__ import annotations

from math import log2

import pytest

from cli.evaluation.measures import measure

GAINS = {"a": 3, "b": 2, "c": 1, "d": 0}
IDEAL = 3 + 2 / log2(3) + 1 / log2(4)


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        (["a", "b", "c"], (1, 1, 1, 1)),
        (["b", "x", "a"], ((2 + 3 / log2(4)) / IDEAL, 1, 2 / 3, 2 / 3)),
        (["x", "d", "c"], ((1 / log2(4)) / IDEAL, 1 / 3, 1 / 3, 1 / 3)),
        ([f"x{n}" for n in range(9)] + ["b", "a"], ((2 / log2(11)) / IDEAL, 1 / 10, 1 / 3, 2 / 3)),
        ([f"x{n}" for n in range(10)] + ["a"], (0, 0, 0, 1 / 3)),
        ([f"x{n}" for n in range(99)] + ["a", "b"], (0, 0, 0, 1 / 3)),
        ([], (0, 0, 0, 0)),
    ],
    ids=["ideal", "mixed", "judged-irrelevant", "tenth", "eleventh", "hundredth", "empty"],
)
def test_gains_are_linear_and_everything_relevant_counts(ranking: list[str], expected: tuple[float, ...]) -> None:
    values = measure({"q": GAINS}, {"q": ranking})
    found = [values[name]["q"] for name in ("ndcg@10", "mrr@10", "recall@10", "recall@100")]
    assert found == pytest.approx(expected)


def test_the_order_is_kept_whatever_the_ids(tmp_path: object) -> None:
    for ranking in (["z", "a"], ["a", "z"]):
        values = measure({"q": {"a": 1}}, {"q": ranking})
        assert values["mrr@10"]["q"] == 1 / (1 + ranking.index("a"))


def test_a_judgement_below_zero_is_not_relevant() -> None:
    values = measure({"q": {"a": -1, "b": 1}}, {"q": ["a", "b"]})
    assert values["ndcg@10"]["q"] == pytest.approx(1 / log2(3))
    assert values["mrr@10"]["q"] == 0.5


def test_every_question_has_its_own_value() -> None:
    values = measure({"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": ["a"], "q2": ["b"]})
    assert values["recall@10"] == {"q1": 1.0, "q2": 0.0}
