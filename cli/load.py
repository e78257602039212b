"""`trivium load`: ghz sends questions in an open loop; the answers are held to limits.

ghz does not wait for one answer before it sends the next question (`--async`), so a slow system meets the rate that
was asked for and not the one that it can bear.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.system import TREE
from cli.tls import TlsFiles

CALL = "trivium.v1.GatewayService/Answer"
PROTOS = TREE / "protos"
MAX_QUESTIONS = 100_000
"""In one run: ghz keeps a record of each."""
CONNECT_S = 10
SHOWN_ERRORS = 5
LEAST_OFFERED_SHARE = 0.9
"""Of the rate asked for. Below it the sender was too slow, and the limits were not tried."""


class LoadFailed(Exception):
    """There was no load. The text says why."""


@dataclass(frozen=True)
class Load:
    """What to send, and where to."""

    gateway: str
    questions: Sequence[str]
    rps: float
    duration_s: float
    timeout_s: float
    collection: str = "default"
    top_k: int | None = None
    connections: int = 4

    @property
    def num_questions(self) -> int:
        return max(1, round(self.rps * self.duration_s))


@dataclass(frozen=True)
class Limits:
    """What must hold. None: not looked at."""

    max_error_share: float = 0.0
    max_p50_ms: float | None = None
    max_p99_ms: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a load. Times are those of answered questions, in milliseconds, ascending."""

    sent: int
    offered_rps: float
    latencies_ms: Sequence[float]
    count_by_status: Mapping[str, int]
    errors: Mapping[str, int]

    @property
    def error_share(self) -> float:
        return 1 - len(self.latencies_ms) / self.sent if self.sent else 1.0

    def percentile_ms(self, share: float) -> float | None:
        """The nearest rank; None when nothing was answered."""
        if not self.latencies_ms:
            return None
        return self.latencies_ms[max(0, math.ceil(share * len(self.latencies_ms)) - 1)]


@dataclass(frozen=True)
class Verdict:
    """One limit, and how it was met."""

    what: str
    measured: str
    limit: str
    is_met: bool


def load(asked: Load, limits: Limits, console: Console, as_json: bool) -> bool:
    """Send, print what came of it. True when every limit was met. Raises LoadFailed."""
    with console.status(f"{asked.num_questions:,} questions to {asked.gateway} in {asked.duration_s:g} s …"):
        outcome = read_report(run_ghz(asked, os.environ))
    verdicts = judge(asked, limits, outcome)
    if as_json:
        print(json.dumps(to_dict(outcome, verdicts)))
    else:
        show(asked, outcome, verdicts, console)
    return all(verdict.is_met for verdict in verdicts)


def run_ghz(asked: Load, environ: Mapping[str, str]) -> dict[str, Any]:
    """ghz's report of the load. Raises LoadFailed."""
    if asked.num_questions > MAX_QUESTIONS:
        raise LoadFailed(
            f"{asked.num_questions:,} questions are more than {MAX_QUESTIONS:,}: lower --rps or --duration"
        )
    with tempfile.TemporaryDirectory(prefix="trivium-load-") as folder:
        data = Path(folder, "questions.json")
        data.write_text(json.dumps([_request(asked, question) for question in asked.questions]), encoding="utf-8")
        try:
            ran = subprocess.run(
                [_ghz(environ), *arguments(asked, data, TlsFiles.named("TRIVIUM", environ))],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=asked.duration_s + asked.timeout_s + CONNECT_S + 30,
            )
        except subprocess.TimeoutExpired as error:
            raise LoadFailed(f"ghz did not end within {error.timeout:.0f} s and was stopped") from None
    if ran.returncode:
        raise LoadFailed(f"ghz ended with {ran.returncode}: {(ran.stderr or ran.stdout).strip()[-2_000:]}")
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def arguments(asked: Load, data: Path, tls: TlsFiles | None) -> list[str]:
    """ghz's, for this load. The gateway needs no reflection: the contract is beside us."""
    security = ["--insecure"]
    if tls:
        security = ["--cacert", str(tls.ca_path), "--cert", str(tls.certificate_path), "--key", str(tls.key_path)]
    workers = max(asked.connections, min(asked.num_questions, 50))
    return [
        *security,
        *("--proto", str(PROTOS / "trivium/v1/gateway.proto"), "--import-paths", str(PROTOS), "--call", CALL),
        *(
            "--async",
            "--rps",
            f"{asked.rps:g}",
            "--total",
            str(asked.num_questions),
            "--timeout",
            f"{asked.timeout_s}s",
        ),
        *("--concurrency", str(workers), "--connections", str(min(asked.connections, workers))),
        *("--connect-timeout", f"{CONNECT_S}s", "--lb-strategy", "round_robin"),
        *("--data-file", str(data), "--disable-template-data", "--disable-template-functions"),
        *("--format", "json", asked.gateway),
    ]


def read_report(report: Mapping[str, Any]) -> Outcome:
    """What a report of ghz says, counted call by call: its own percentiles leave some out. ghz notes when a call
    ended, in nanoseconds how long it took, and so when it was sent."""
    calls = report["details"] or []
    times = sorted(datetime.fromisoformat(one["timestamp"]).timestamp() - one["latency"] / 1e9 for one in calls)
    span_s = times[-1] - times[0] if len(times) > 1 else 0.0
    return Outcome(
        sent=len(calls),
        offered_rps=(len(times) - 1) / span_s if span_s else 0.0,
        latencies_ms=sorted(call["latency"] / 1e6 for call in calls if call["status"] == "OK"),
        count_by_status=Counter(call["status"] for call in calls),
        errors=Counter(call["error"] for call in calls if call["error"]),
    )


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
    console.print(f"{asked.gateway}: {asked.rps:g} questions a second for {asked.duration_s:g} s", highlight=False)
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


def _request(asked: Load, question: str) -> dict[str, object]:
    search: dict[str, object] = {"collection": asked.collection}
    if asked.top_k is not None:
        search["top_k"] = asked.top_k
    return {"question": question, "search": search}


def _ghz(environ: Mapping[str, str]) -> str:
    """The binary, from PATH or, in the tree, as `make tools` builds it. Raises LoadFailed."""
    path = os.pathsep.join([environ.get("PATH", os.defpath), str(TREE / ".tools" / "bin")])
    found = shutil.which("ghz", path=path)
    if found is None:
        raise LoadFailed("ghz is not on PATH; `make tools` builds it, and the cli image carries it")
    return found
