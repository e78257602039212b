"""`trivium doctor`: everything that can be checked from here, one row each, and what to do about what fails."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.answer import printable
from cli.checks.check import Check, Finding, Status
from cli.checks.plan import Order, checks

MARKS = {
    Status.OK: ("✓", "green"),
    Status.WARNING: ("!", "yellow"),
    Status.FAILED: ("✗", "bold red"),
    Status.SKIPPED: ("–", "dim"),
}


Row = tuple[Check, Finding]


def doctor(order: Order, console: Console, as_json: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """Run every check and print what it found. True when none failed."""
    rows: list[Row] = []
    with console.status("checking …") as status:
        for check in checks(order, environ):
            status.update(f"checking {check.name} of {check.subject} …")
            rows += run(check, rows)
    if as_json:
        print(json.dumps(to_dict(rows), ensure_ascii=False))
    else:
        show(rows, console)
    return not any(finding.status is Status.FAILED for _, finding in rows)


def run(check: Check, before: Sequence[Row]) -> list[Row]:
    """What a check found; skipped when one that it needs has failed, or was skipped itself."""
    bad = {one.key for one, finding in before if finding.status in (Status.FAILED, Status.SKIPPED)}
    for key in check.needs:
        if key in bad:
            return [(check, Finding(Status.SKIPPED, f"needs the check above: {key[0]} of {key[1]}"))]
    return [(check, finding) for finding in check.run()]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print a table for a person, and a line that sums up."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("of", no_wrap=True)
    table.add_column("found")
    for number, (check, finding) in enumerate(rows):
        mark, style = MARKS[finding.status]
        is_first = number == 0 or rows[number - 1][0] is not check
        text = Text(printable(finding.text), style="" if finding.status is Status.OK else style.removeprefix("bold "))
        if finding.advice:
            text.append(f"\n→ {printable(finding.advice)}", style="default")
        name, subject = (check.name, check.subject) if is_first else ("", "")
        table.add_row(Text(mark, style=style), Text(name, style="bold"), Text(printable(subject)), text)
    console.print(table)
    console.print(_summary(rows))


def to_dict(rows: Sequence[Row]) -> dict[str, object]:
    """For `--json`."""
    return {
        "ok": not any(finding.status is Status.FAILED for _, finding in rows),
        "findings": [
            {
                "check": check.name,
                "subject": check.subject,
                "status": finding.status.value,
                "text": finding.text,
                "advice": finding.advice,
            }
            for check, finding in rows
        ],
    }


def _summary(rows: Sequence[Row]) -> Text:
    counts = Counter(finding.status for _, finding in rows)
    words = {Status.FAILED: "failed", Status.WARNING: "to look at", Status.OK: "fine", Status.SKIPPED: "skipped"}
    parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    return Text(f"\n{' · '.join(parts)}", style="bold red" if counts[Status.FAILED] else "bold")
