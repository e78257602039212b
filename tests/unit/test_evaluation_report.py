"""What a person is shown of an evaluation."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cli.evaluation import calibration, report
from cli.evaluation.asking import RANKINGS, Findings
from cli.evaluation.question_set import Question
from cli.evaluation.scores import score, summarise


def evaluation(**changes: Any) -> dict[str, Any]:
    questions = [Question(f"q{number}", "?", {"d": 1}) for number in range(4)]
    findings = {
        f"q{number}": Findings(rankings=dict.fromkeys(RANKINGS, ["x"] * (number > 1) + ["d"])) for number in range(4)
    }
    return {
        **summarise(score(questions, findings)),
        "by_kind": {},
        "warnings": [],
        "failed": {},
        "set": {"name": "herons", "num_questions": 5, "num_unjudged_questions": 1},
        "settings": {
            "num_passages": dict.fromkeys(RANKINGS, 100),
            "num_short_questions": dict.fromkeys(RANKINGS, 0),
            "is_calibrated": False,
        },
        "index": {"num_documents": 10, "num_passages": 20},
        "models": {"reranker": {"model": "embedded", "revision": "53aa"}},
        "seconds": {"ingest": 1.5, "ask": 2.5},
    } | changes


def shown(printed: dict[str, Any]) -> str:
    """With every run of white space as one blank."""
    output = io.StringIO()
    report.show(printed, Console(file=output, width=120))
    return " ".join(output.getvalue().split())


def test_means_stand_with_their_intervals_and_wins_with_their_p() -> None:
    text = shown(evaluation())
    assert "reranked 0.815 [0.631, 1.000] 0.750 [0.500, 1.000] 1.000 [1.000, 1.000] 1.000 [1.000, 1.000]" in text
    assert "reranked vs fused 0 0 4 +0.000 1.000" in text
    assert "herons: 10 documents in 20 passages, 5 questions, 1 of them without any judgement" in text
    assert "answers" not in text
    assert "abstention" not in text


def test_what_takes_from_the_figures_is_said_first() -> None:
    settings = evaluation()["settings"] | {"num_short_questions": dict.fromkeys(RANKINGS, 0) | {"bm25": 2}}
    text = shown(evaluation(settings=settings, failed={"q9": "UNAVAILABLE: gone"}, warnings=["a judgement is odd"]))
    assert text.startswith("a judgement is odd question q9 failed and is in no figure: UNAVAILABLE: gone bm25: for 2")
    assert "100 passages are of fewer than 100 documents; recall@100 may be higher" in text
    assert "dense: for" not in text


def test_a_calibration_is_shown_by_the_half_that_it_was_not_fitted_on() -> None:
    fitted, held_out = calibration.Refusals(10, 9, 20, 1), calibration.Refusals(8, 6, 25, 2)
    fit = calibration.Fit(12.5, -6.25, 0.4375, fitted, held_out, 0.1)
    text = shown(evaluation(calibration=fit.to_dict()))
    assert "probability = 1 / (1 + e^-(12.500 · evidence -6.250)), abstention below 0.438" in text
    assert "held out 6 of 8 (75.0%) unanswerable refused · 2 of 25 (8.0%) answerable falsely refused" in text
    assert "9 of 10 (90.0%) unanswerable refused · 1 of 20 (5.0%)" in text


def test_a_calibration_without_unanswerable_questions_says_so() -> None:
    nobody = calibration.Refusals(0, 0, 20, 0)
    text = shown(evaluation(calibration=calibration.Fit(12.5, -6.25, 0.0, nobody, nobody, None).to_dict()))
    assert "0 of 0 unanswerable refused" in text
    assert "no unanswerable questions to judge by" in text


def test_a_document_or_engine_name_is_no_markup() -> None:
    assert "[bold]herons" in shown(
        evaluation(set={"name": "[bold]herons", "num_questions": 5, "num_unjudged_questions": 1})
    )
