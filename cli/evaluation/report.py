"""An evaluation for a person: the table, who wins where, answers, abstention, and what to know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.evaluation.asking import RANKINGS
from cli.evaluation.measures import MEASURES
from cli.evaluation.scores import ANSWER_MEASURES

WINS_MEASURE = "ndcg@10"
"""`--json` has the others too."""


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print all of it but the single questions."""
    _show_warnings(report, console)
    _show_scores(report, console)
    for kind, ours in report["by_kind"].items():
        console.print(Text.assemble("\nkind ", (kind, "bold")))
        _show_scores(ours, console)
    if report.get("calibration"):
        show_calibration(report["calibration"], console)
    console.print(Text(f"\n{_footer(report)}", style="dim"))


def show_calibration(calibration: Mapping[str, Any], console: Console) -> None:
    """Print what was fitted and what it does to the questions that it was not fitted on."""
    console.print(
        f"\ncalibration: probability = 1 / (1 + e^-({calibration['slope']:.3f} · evidence "
        f"{calibration['intercept']:+.3f})), abstention below {calibration['abstention_threshold']:.3f}",
        highlight=False,
    )
    for half in ("fitted", "held_out"):
        ours = calibration[half]
        console.print(
            f"  {half.replace('_', ' '):<9} {_refused(ours, 'num_refused', 'num_unanswerable')} unanswerable refused · "
            f"{_refused(ours, 'num_falsely_refused', 'num_answerable')} answerable falsely refused",
            highlight=False,
        )
    if not calibration["held_out"]["num_unanswerable"]:
        console.print("  no unanswerable questions to judge by", style="yellow")


def value(mean: float | None, interval: Sequence[float] | None = None) -> Text:
    """A mean and its interval."""
    if mean is None:
        return Text("–", style="dim")
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return Text.assemble(f"{mean:.3f}", (bounds, "dim"))


def _show_warnings(report: Mapping[str, Any], console: Console) -> None:
    for warning in report["warnings"]:
        console.print(Text(warning, style="yellow"), soft_wrap=True)
    for question_id, reason in report["failed"].items():
        console.print(Text(f"question {question_id} failed and is in no figure: {reason}", style="red"), soft_wrap=True)
    for ranking, count in report["settings"]["num_short_questions"].items():
        if count:
            text = (
                f"{ranking}: for {count:,} questions {report['settings']['num_passages'][ranking]:,} passages are of "
                "fewer than 100 documents; recall@100 may be higher"
            )
            console.print(Text(text, style="yellow"), soft_wrap=True)


def _show_scores(scores: Mapping[str, Any], console: Console) -> None:
    if scores["num_ranked_questions"]:
        console.print(_rankings_table(scores))
        console.print(_wins_table(scores))
    if scores["answers"]:
        _show_answers(scores["answers"], console)
    if scores["abstention"]:
        abstention = scores["abstention"]
        console.print(
            f"abstention: {_refused(abstention, 'num_refused', 'num_unanswerable')} unanswerable refused · "
            f"{_refused(abstention, 'num_falsely_refused', 'num_answerable')} answerable falsely refused",
            highlight=False,
        )


def _rankings_table(scores: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(f"{scores['num_ranked_questions']:,} questions")
    for name in MEASURES:
        table.add_column(name, no_wrap=True)
    for ranking in RANKINGS:
        ours = scores[ranking]
        table.add_row(Text(ranking, style="bold"), *(value(ours[name], ours["intervals"][name]) for name in MEASURES))
    return table


def _wins_table(scores: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(f"by {WINS_MEASURE}")
    for heading in ("wins", "losses", "ties", "difference", "p"):
        table.add_column(heading, justify="right")
    for pair, by_measure in scores["wins"].items():
        ours = by_measure[WINS_MEASURE]
        counts = (f"{ours[name]:,}" for name in ("wins", "losses", "ties"))
        table.add_row(pair, *counts, f"{ours['difference']:+.3f}", p_value(ours["p_value"]))
    return table


def p_value(p: float) -> str:
    """No smaller than the randomisation can tell."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _show_answers(answers: Mapping[str, Any], console: Console) -> None:
    line = Text(f"answers ({answers['num_questions']:,} questions):")
    for name in ANSWER_MEASURES:
        if answers[name] is not None:
            line.append(f" {name.replace('_', ' ')} ").append_text(value(answers[name], answers["intervals"][name]))
    console.print(line)


def _refused(counts: Mapping[str, Any], part: str, whole: str) -> str:
    share = f" ({counts[part] / counts[whole]:.1%})" if counts[whole] else ""
    return f"{counts[part]:,} of {counts[whole]:,}{share}"


def _footer(report: Mapping[str, Any]) -> str:
    index, settings, ours = report["index"], report["settings"], report["set"]
    passages = ", ".join(f"{ranking} {count:,}" for ranking, count in settings["num_passages"].items())
    models = ", ".join(f"{stage} {one['model']} {one['revision']}" for stage, one in report["models"].items())
    return (
        f"{ours['name']}: {index['num_documents']:,} documents in {index['num_passages']:,} passages, "
        f"{ours['num_questions']:,} questions, {ours['num_unjudged_questions']:,} of them without any judgement\n"
        f"passages asked for: {passages}; {'' if settings['is_calibrated'] else 'no '}calibration in use\n"
        f"{models}\n"
        f"ingested in {report['seconds']['ingest']:,.1f} s, asked in {report['seconds']['ask']:,.1f} s; "
        "95 % intervals by bootstrap over questions, p by paired randomisation"
    )
