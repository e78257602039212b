"""What the findings come to: one value for each question and measure, and what they are together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cli.evaluation import answers, statistics
from cli.evaluation.asking import RANKINGS, Findings
from cli.evaluation.measures import MEASURES, measure
from cli.evaluation.question_set import Question

COMPARISONS = (("reranked", "fused"), ("fused", "dense"), ("fused", "bm25"))
"""Which ranking is held against which."""
ANSWER_MEASURES = ("in_evidence", "exact_match", "f1")


@dataclass(frozen=True)
class QuestionScores:
    """One question's. All of it goes into `--json`, and `--compare` works from it."""

    question_id: str
    kind: str
    rankings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Ranking → measure → value. Empty where no document is relevant."""
    answers: Mapping[str, float] = field(default_factory=dict)
    """Measure → value. Empty where there is no gold answer."""
    is_unanswerable: bool = False
    is_refused: bool | None = None
    """None where no answer was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "kind": self.kind,
            **self.rankings,
            "answers": self.answers,
            "unanswerable": self.is_unanswerable,
            "refused": self.is_refused,
        }


def score(questions: Iterable[Question], findings_by_question_id: Mapping[str, Findings]) -> list[QuestionScores]:
    """Of every question that was asked, in the order of `questions`."""
    asked = [question for question in questions if question.question_id in findings_by_question_id]
    values = _ranking_values([question for question in asked if question.is_ranked], findings_by_question_id)
    is_generated = any(one.answered and one.answered.is_generated for one in findings_by_question_id.values())
    return [
        QuestionScores(
            question_id=question.question_id,
            kind=question.kind,
            rankings=values.get(question.question_id, {}),
            answers=_answer_values(question, findings_by_question_id[question.question_id], is_generated),
            is_unanswerable=question.is_unanswerable,
            is_refused=_is_refused(findings_by_question_id[question.question_id]),
        )
        for question in asked
    ]


def summarise(scores: Sequence[QuestionScores]) -> dict[str, Any]:
    """Means and intervals: `dense`, `bm25`, `fused`, `reranked`, `wins`, `answers`, `abstention`."""
    ranked = [one for one in scores if one.rankings]
    return {
        "num_questions": len(scores),
        "num_ranked_questions": len(ranked),
        **{ranking: _means(MEASURES, [one.rankings[ranking] for one in ranked]) for ranking in RANKINGS},
        "wins": {f"{ours} vs {theirs}": _compare(ranked, ours, theirs) for ours, theirs in COMPARISONS if ranked},
        "answers": _answers([one.answers for one in scores if one.answers]),
        "abstention": abstention(scores),
    }


def abstention(scores: Iterable[QuestionScores]) -> dict[str, Any] | None:
    """How many of the unanswerable questions were refused, and of the others. None without unanswerable ones."""
    judged = [one for one in scores if one.is_refused is not None]
    unanswerable = [float(one.is_refused or 0) for one in judged if one.is_unanswerable]
    answerable = [float(one.is_refused or 0) for one in judged if not one.is_unanswerable]
    if not unanswerable:
        return None
    return {
        "refusals": _mean(unanswerable),
        "false_refusals": _mean(answerable),
        "intervals": {"refusals": _interval(unanswerable), "false_refusals": _interval(answerable)},
        "num_unanswerable": len(unanswerable),
        "num_refused": int(sum(unanswerable)),
        "num_answerable": len(answerable),
        "num_falsely_refused": int(sum(answerable)),
    }


def _ranking_values(
    questions: Sequence[Question], findings_by_question_id: Mapping[str, Findings]
) -> dict[str, dict[str, dict[str, float]]]:
    """Question id → ranking → measure → value."""
    gains = {question.question_id: question.gain_by_document_id for question in questions}
    values: dict[str, dict[str, dict[str, float]]] = {question_id: {} for question_id in gains}
    for ranking in RANKINGS if gains else ():
        orders = {question_id: findings_by_question_id[question_id].rankings[ranking] for question_id in gains}
        by_measure = measure(gains, orders)
        for question_id in gains:
            values[question_id][ranking] = {name: by_measure[name][question_id] for name in MEASURES}
    return values


def _answer_values(question: Question, findings: Findings, is_generated: bool) -> dict[str, float]:
    answered = findings.answered
    if not question.answers or answered is None:
        return {}
    if is_generated:
        if answered.is_refused:
            return {"exact_match": 0.0, "f1": 0.0}
        return {
            "exact_match": answers.exact_match(question.answers, answered.text),
            "f1": answers.f1(question.answers, answered.text),
        }
    return {"in_evidence": float(answers.is_in_evidence(question.answers, answered.quotes))}


def _is_refused(findings: Findings) -> bool | None:
    return findings.answered.is_refused if findings.answered else None


def _answers(values: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    """None without gold answers. An engine that writes quotes nothing, and one that quotes writes nothing."""
    if not values:
        return None
    means = _means([name for name in ANSWER_MEASURES if name in values[0]], values)
    return {"in_evidence": None, "exact_match": None, "f1": None, **(means or {}), "num_questions": len(values)}


def _means(names: Sequence[str], values: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    if not values:
        return None
    by_name = {name: [one[name] for one in values] for name in names}
    return {
        **{name: _mean(column) for name, column in by_name.items()},
        "intervals": {name: _interval(column) for name, column in by_name.items()},
    }


def _compare(ranked: Sequence[QuestionScores], ours: str, theirs: str) -> dict[str, Any]:
    return {
        name: statistics.compare(
            [one.rankings[ours][name] for one in ranked], [one.rankings[theirs][name] for one in ranked]
        ).to_dict()
        for name in MEASURES
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _interval(values: Sequence[float]) -> list[float] | None:
    bounds = statistics.interval(values)
    return list(bounds) if bounds else None
