"""Two evaluations held against each other, from their files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.evaluation import comparison
from cli.evaluation.asking import RANKINGS, Answered, Findings
from cli.evaluation.evaluation import FORMAT
from cli.evaluation.failure import EvaluationFailed
from cli.evaluation.question_set import Question
from cli.evaluation.scores import score

SHA256_BY_FILE = {"corpus.jsonl": "c" * 64, "queries.jsonl": "a" * 64, "qrels/test.tsv": "b" * 64}


def evaluation(path: Path, ranks: list[int], *, refused: bool = False, failed: str = "", **sha256: str) -> Path:
    """What `--json` prints where the relevant document of question n stands at `ranks[n]` of each ranking."""
    questions, findings = [], {}
    for number, rank in enumerate(ranks):
        name = f"q{number}"
        questions.append(Question(name, "?", {"d": 1}, answers=("frogs",)))
        order = [f"x{other}" for other in range(1, rank)] + ["d"]
        quotes = ["It eats frogs."] if rank == 1 else []
        findings[name] = Findings(rankings=dict.fromkeys(RANKINGS, order), answered=Answered("", quotes, False, False))
    questions.append(Question("moon", "?", {}, is_unanswerable=True))
    findings["moon"] = Findings(answered=Answered("", [], refused, False))
    findings.pop(failed, None)
    report = {
        "format": FORMAT,
        "set": {"sha256": SHA256_BY_FILE | sha256},
        "failed": {failed: "UNAVAILABLE: gone"} if failed else {},
        "questions": {one.question_id: one.to_dict() for one in score(questions, findings)},
    }
    path.write_text(json.dumps(report))
    return path


def test_every_measure_that_both_have_is_compared_question_by_question(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "a.json", [1, 1, 2, 1], refused=True)
    theirs = evaluation(tmp_path / "b.json", [2, 1, 1, 5])
    found = comparison.compare_files(ours, theirs)
    mrr = found["reranked"]["mrr@10"]
    assert (mrr["a"], mrr["b"]) == pytest.approx((3.5 / 4, 2.7 / 4))
    assert mrr["difference"] == pytest.approx(0.8 / 4)
    assert (mrr["wins"], mrr["losses"], mrr["ties"], mrr["num_questions"]) == (2, 1, 1, 4)
    assert 0 < mrr["p_value"] < 1
    assert mrr["interval"][0] < mrr["difference"] < mrr["interval"][1]
    assert (found["answers"]["in_evidence"]["a"], found["answers"]["in_evidence"]["b"]) == (0.75, 0.5)
    assert (found["abstention"]["refusals"]["a"], found["abstention"]["refusals"]["b"]) == (1.0, 0.0)
    assert found["abstention"]["false_refusals"]["difference"] == 0.0
    assert "exact_match" not in found["answers"]


def test_an_evaluation_does_not_differ_from_itself(tmp_path: Path) -> None:
    path = evaluation(tmp_path / "a.json", [1, 2, 3])
    found = comparison.compare_files(path, path)
    assert {one["p_value"] for ranking in RANKINGS for one in found[ranking].values()} == {1.0}


def test_the_comparison_is_shown(tmp_path: Path) -> None:
    output = io.StringIO()
    path = evaluation(tmp_path / "a.json", [1, 2, 3])
    comparison.show(comparison.compare_files(path, path), Console(file=output, width=120))
    assert "reranked ndcg@10" in " ".join(output.getvalue().split())
    assert "1.000" in output.getvalue()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"queries.jsonl": "0"}, "of different sets: their queries.jsonl differ"),
        ({"corpus.jsonl": "0"}, "of different sets: their corpus.jsonl differ"),
        ({"failed": "q1"}, r"b\.json lacks 1 questions that the other has: q1 UNAVAILABLE: gone"),
    ],
    ids=["queries", "corpus", "failed"],
)
def test_evaluations_of_other_questions_are_refused_with_the_difference(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    ours = evaluation(tmp_path / "a.json", [1, 2])
    theirs = evaluation(tmp_path / "b.json", [1, 2], **changes)
    for pair in ((ours, theirs), (theirs, ours)):
        with pytest.raises(EvaluationFailed, match=reason):
            comparison.compare_files(*pair)


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"format": 0}'], ids=["absent", "text", "list", "format"])
def test_a_file_that_is_no_evaluation_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
    with pytest.raises(EvaluationFailed, match=r"other\.json"):
        comparison.compare_files(evaluation(tmp_path / "a.json", [1]), other)
