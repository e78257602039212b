"""Two evaluations of the same questions: how they differ, and whether chance explains it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.evaluation import statistics
from cli.evaluation.asking import RANKINGS
from cli.evaluation.evaluation import FORMAT
from cli.evaluation.failure import EvaluationFailed
from cli.evaluation.measures import MEASURES
from cli.evaluation.report import p_value, value
from cli.evaluation.scores import ANSWER_MEASURES

Value = Callable[[Mapping[str, Any]], float | None]
"""A question's, out of the JSON object. None where it does not count."""


def compare_files(ours: Path, theirs: Path) -> dict[str, Any]:
    """`ours` − `theirs` for every measure that both have. Raises EvaluationFailed.

    No p-value is corrected for there being many of them.
    """
    first, second = _read(ours), _read(theirs)
    _require_same_questions(ours, theirs, first, second)
    differences: dict[str, dict[str, Any]] = {}
    for group, name, of in _values():
        pairs = [
            (a, b)
            for question_id, question in first["questions"].items()
            if (a := of(question)) is not None and (b := of(second["questions"][question_id])) is not None
        ]
        if pairs:
            columns = [a for a, _ in pairs], [b for _, b in pairs]
            means = {"a": sum(columns[0]) / len(pairs), "b": sum(columns[1]) / len(pairs)}
            found = statistics.compare(*columns).to_dict()
            differences.setdefault(group, {})[name] = means | found | {"num_questions": len(pairs)}
    return {"a": str(ours), "b": str(theirs), "num_questions": len(first["questions"]), **differences}


def show(comparison: Mapping[str, Any], console: Console) -> None:
    """Print a row for each measure."""
    console.print(Text(f"a {comparison['a']}\nb {comparison['b']}"))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in (f"{comparison['num_questions']:,} questions", "", "a", "b", "a − b", "p", "wins", "losses", "ties"):
        table.add_column(heading, justify="left" if not table.columns or heading in ("", "a − b") else "right")
    for group in (*RANKINGS, "answers", "abstention"):
        for name, ours in comparison.get(group, {}).items():
            means = (f"{ours['a']:.3f}", f"{ours['b']:.3f}")
            counts = (f"{ours[count]:,}" for count in ("wins", "losses", "ties"))
            difference = value(ours["difference"], ours["interval"])
            table.add_row(Text(group, style="bold"), name, *means, difference, p_value(ours["p_value"]), *counts)
    console.print(table)
    console.print(Text("p by paired randomisation, each for itself: among many, some are small by chance", style="dim"))


def _values() -> Iterator[tuple[str, str, Value]]:
    """Group, measure, and where its value stands."""
    for ranking in RANKINGS:
        yield from ((ranking, name, _value_at(ranking, name)) for name in MEASURES)
    yield from (("answers", name, _value_at("answers", name)) for name in ANSWER_MEASURES)
    yield "abstention", "refusals", _refusal(is_unanswerable=True)
    yield "abstention", "false_refusals", _refusal(is_unanswerable=False)


def _value_at(group: str, name: str) -> Value:
    return lambda question: question.get(group, {}).get(name)


def _refusal(is_unanswerable: bool) -> Value:
    def of(question: Mapping[str, Any]) -> float | None:
        is_counted = question["refused"] is not None and question["unanswerable"] == is_unanswerable
        return float(question["refused"]) if is_counted else None

    return of


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise EvaluationFailed(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise EvaluationFailed(f"{path}: is not JSON ({error})") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT or "questions" not in report:
        raise EvaluationFailed(f"{path}: is not what `trivium eval --json` of this version prints")
    return report


def _require_same_questions(ours: Path, theirs: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    for name, sha256 in first["set"]["sha256"].items():
        if second["set"]["sha256"].get(name) != sha256:
            raise EvaluationFailed(f"{ours} and {theirs} are of different sets: their {name} differ")
    for path, one, other in ((ours, first, second), (theirs, second, first)):
        if missing := sorted(other["questions"].keys() - one["questions"].keys()):
            reasons = "; ".join(f"{name} {one['failed'].get(name, 'was not asked')}" for name in missing[:3])
            raise EvaluationFailed(f"{path} lacks {len(missing):,} questions that the other has: {reasons}")
