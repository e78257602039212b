"""`trivium load`: questions at a steady rate, and the answers held to limits."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.ghz import Load, Outcome, send

SHOWN_ERRORS = 5
LEAST_OFFERED_SHARE = 0.9
"""Of the rate asked for. Below it the sender was too slow, and the limits were not tried."""


@dataclass(frozen=True)
class Limits:
    """What must hold. None: not looked at."""

    max_error_share: float = 0.0
    max_p50_ms: float | None = None
    max_p99_ms: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One limit, and how it was met."""

    what: str
    measured: str
    limit: str
    is_met: bool


def load(asked: Load, limits: Limits, console: Console, as_json: bool) -> bool:
    """Send, print what came of it. True when every limit was met. Raises what `send` raises."""
    with console.status(f"{asked.num_questions:,} questions to {asked.gateway} in {asked.duration_s:g} s …"):
        outcome = send(asked, os.environ)
    verdicts = judge(asked, limits, outcome)
    if as_json:
        print(json.dumps(to_dict(outcome, verdicts)))
    else:
        show(asked, outcome, verdicts, console)
    return all(verdict.is_met for verdict in verdicts)


def judge(asked: Load, limits: Limits, outcome: Outcome) -> list[Verdict]:
    """Every limit that was set, and whether the load was the one asked for."""
    least_rps = LEAST_OFFERED_SHARE * asked.rps
    is_offered = outcome.sent < 2 or outcome.offered_rps >= least_rps
    share, most = outcome.error_share, limits.max_error_share
    return [
        Verdict("sent", f"{outcome.sent:,}", f"{asked.num_questions:,}", outcome.sent == asked.num_questions),
        Verdict("offered rate", f"{outcome.offered_rps:.1f}/s", f"at least {least_rps:.1f}/s", is_offered),
        Verdict("failed", f"{share:.2%}", f"at most {most:.2%}", share <= most),
        _judge_time("p50", outcome.percentile_ms(0.5), limits.max_p50_ms),
        _judge_time("p99", outcome.percentile_ms(0.99), limits.max_p99_ms),
    ]


def show(asked: Load, outcome: Outcome, verdicts: Sequence[Verdict], console: Console) -> None:
    """Print the limits and how they were met, then why calls failed."""
    console.print(f"{asked.gateway}: {asked.rps} questions a second for {asked.duration_s:g} s", highlight=False)
    table = Table("", "", Column("measured", justify="right"), "limit", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for verdict in verdicts:
        mark = Text("✓", style="green") if verdict.is_met else Text("✗", style="bold red")
        table.add_row(mark if verdict.limit else "", verdict.what, verdict.measured, verdict.limit or "none set")
    console.print(table)
    for text, count in sorted(outcome.errors.items(), key=lambda entry: -entry[1])[:SHOWN_ERRORS]:
        console.print(Text(f"{count:,} × {text}", style="yellow"))
    broken = [f"{one.what} is {one.measured}, the limit {one.limit}" for one in verdicts if not one.is_met]
    if broken:
        console.print(Text(f"broken: {'; '.join(broken)}", style="bold red"))


def to_dict(outcome: Outcome, verdicts: Sequence[Verdict]) -> dict[str, object]:
    """For `--json`."""
    return {
        "ok": all(verdict.is_met for verdict in verdicts),
        "sent": outcome.sent,
        "offered_rps": outcome.offered_rps,
        "error_share": outcome.error_share,
        "p50_ms": outcome.percentile_ms(0.5),
        "p99_ms": outcome.percentile_ms(0.99),
        "statuses": dict(outcome.count_by_status),
        "errors": dict(outcome.errors),
        "broken": [verdict.what for verdict in verdicts if not verdict.is_met],
    }


def _judge_time(what: str, measured_ms: float | None, limit_ms: float | None) -> Verdict:
    measured = "–" if measured_ms is None else f"{measured_ms:,.1f} ms"
    if limit_ms is None:
        return Verdict(what, measured, "", True)
    return Verdict(what, measured, f"at most {limit_ms:,g} ms", measured_ms is not None and measured_ms <= limit_ms)
