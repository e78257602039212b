"""What findings come to."""

from __future__ import annotations

import pytest

from cli.evaluation.asking import NUM_CANDIDATES, RANKINGS, Answered, Findings
from cli.evaluation.model import DEFAULT_ENGINE
from cli.evaluation.question_set import Question
from cli.evaluation.scores import score, summarise
from gateway.question import DEFAULT_NUM_CANDIDATES
from services.reranker.config import RerankerConfig

QUESTIONS = [
    Question("q1", "?", {"d": 1}, answers=("frogs",), kind="animals"),
    Question("q2", "?", {"e": 1}, answers=("green frog",), kind="animals"),
    Question("q3", "?", {}, answers=("mud",)),
    Question("q4", "?", {}, is_unanswerable=True),
    Question("q5", "?", {}, is_unanswerable=True),
]


def findings(orders: dict[str, list[str]], answered: dict[str, Answered]) -> dict[str, Findings]:
    names = [question.question_id for question in QUESTIONS]
    return {
        name: Findings(rankings=dict.fromkeys(RANKINGS, orders.get(name, [])), answered=answered.get(name))
        for name in names
    }


def quoting(*quotes: str) -> Answered:
    return Answered(" ".join(quotes), quotes, is_refused=False, is_generated=False)


def writing(text: str) -> Answered:
    return Answered(text, [], is_refused=False, is_generated=True)


REFUSED = Answered("", [], is_refused=True, is_generated=False)


def test_rankings_are_measured_over_questions_with_a_relevant_document_alone() -> None:
    summary = summarise(score(QUESTIONS, findings({"q1": ["d"], "q2": ["x", "e"], "q4": ["d"]}, {})))
    assert (summary["num_questions"], summary["num_ranked_questions"]) == (5, 2)
    for ranking in RANKINGS:
        assert summary[ranking]["mrr@10"] == 0.75
        assert summary[ranking]["intervals"]["mrr@10"] == [0.5, 1.0]
    assert summary["wins"]["reranked vs fused"]["mrr@10"]["ties"] == 2
    assert (summary["answers"], summary["abstention"]) == (None, None)


def test_a_question_whose_answer_was_refused_is_not_in_evidence() -> None:
    answered = {"q1": quoting("It eats frogs."), "q2": quoting("It is red."), "q3": REFUSED}
    answers = summarise(score(QUESTIONS, findings({}, answered)))["answers"]
    assert (answers["in_evidence"], answers["num_questions"]) == (pytest.approx(1 / 3), 3)
    assert (answers["exact_match"], answers["f1"]) == (None, None)


def test_what_is_generated_is_compared_word_by_word_and_has_no_quotes_to_look_into() -> None:
    answered = {"q1": writing("The frogs."), "q2": writing("a frog"), "q3": REFUSED}
    answers = summarise(score(QUESTIONS, findings({}, answered)))["answers"]
    assert answers["in_evidence"] is None
    assert answers["exact_match"] == pytest.approx(1 / 3)
    assert answers["f1"] == pytest.approx((1 + 2 / 3) / 3)


def test_refusals_are_counted_among_the_questions_that_were_answered() -> None:
    answered = {"q1": quoting("It eats frogs."), "q2": REFUSED, "q4": REFUSED, "q5": quoting("It is the owl.")}
    abstention = summarise(score(QUESTIONS, findings({}, answered)))["abstention"]
    assert (abstention["refusals"], abstention["false_refusals"]) == (0.5, 0.5)
    counts = ("num_unanswerable", "num_refused", "num_answerable", "num_falsely_refused")
    assert [abstention[name] for name in counts] == [2, 1, 2, 1]


def test_a_question_that_failed_is_in_no_figure() -> None:
    found = findings({"q1": ["d"], "q2": ["x"]}, {})
    del found["q2"]
    assert summarise(score(QUESTIONS, found))["dense"]["mrr@10"] == 1.0


def test_what_the_processes_take_by_default_is_what_is_evaluated() -> None:
    assert NUM_CANDIDATES == DEFAULT_NUM_CANDIDATES
    assert RerankerConfig(device="cpu").engine == DEFAULT_ENGINE
