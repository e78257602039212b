"""One load, sent by ghz, and what became of its questions.

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

from cli.system import TREE
from cli.tls import TlsFiles

CALL = "trivium.v1.GatewayService/Answer"
PROTOS = TREE / "protos"
MAX_QUESTIONS = 100_000
"""In one run: ghz keeps a record of each."""
CONNECT_S = 10
SPARE_S = 30
"""Beyond the times that ghz is given, until it is stopped."""


class LoadFailed(Exception):
    """There was no load. The text says why."""


@dataclass(frozen=True)
class Load:
    """What to send, and where to."""

    gateway: str
    questions: Sequence[str]
    rps: int
    """Whole: ghz knows no fractions."""
    duration_s: float
    timeout_s: float
    collection: str = "default"
    top_k: int | None = None
    connections: int = 4

    @property
    def num_questions(self) -> int:
        return max(1, round(self.rps * self.duration_s))


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
        return (self.sent - len(self.latencies_ms)) / self.sent if self.sent else 1.0

    def percentile_ms(self, share: float) -> float | None:
        """The nearest rank; None when nothing was answered."""
        if not self.latencies_ms:
            return None
        return self.latencies_ms[max(0, math.ceil(share * len(self.latencies_ms)) - 1)]


def send(asked: Load, environ: Mapping[str, str]) -> Outcome:
    """What became of the load. Raises LoadFailed, and ConfigError when only some TLS files are named."""
    if asked.num_questions > MAX_QUESTIONS:
        raise LoadFailed(
            f"{asked.num_questions:,} questions are more than {MAX_QUESTIONS:,}: lower --rps or --duration"
        )
    with tempfile.TemporaryDirectory(prefix="trivium-load-") as folder:
        data = Path(folder, "questions.json")
        data.write_text(json.dumps([_request(asked, question) for question in asked.questions]), encoding="utf-8")
        command = [_ghz(environ), *arguments(asked, data, TlsFiles.named("TRIVIUM", environ))]
        return read_report(_run(command, asked.duration_s + asked.timeout_s + CONNECT_S + SPARE_S))


def arguments(asked: Load, data: Path, tls: TlsFiles | None) -> list[str]:
    """ghz's, for this load. The gateway needs no reflection: the contract is beside us."""
    security = ["--insecure"]
    if tls:
        security = ["--cacert", str(tls.ca_path), "--cert", str(tls.certificate_path), "--key", str(tls.key_path)]
    workers = max(asked.connections, min(asked.num_questions, 50))
    return [
        *security,
        *("--proto", str(PROTOS / "trivium/v1/gateway.proto"), "--import-paths", str(PROTOS), "--call", CALL),
        *("--async", "--rps", str(asked.rps), "--total", str(asked.num_questions)),
        *("--concurrency", str(workers), "--connections", str(asked.connections)),
        *("--timeout", f"{asked.timeout_s}s", "--connect-timeout", f"{CONNECT_S}s", "--lb-strategy", "round_robin"),
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


def _run(command: Sequence[str], limit_s: float) -> dict[str, Any]:
    """The report that it prints. Raises LoadFailed."""
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"ghz did not end within {limit_s:.0f} s and was stopped") from None
    said = (ran.stderr or ran.stdout).strip()[-2_000:]
    if ran.returncode:
        raise LoadFailed(f"ghz ended with {ran.returncode}: {said}")
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except json.JSONDecodeError:
        raise LoadFailed(f"ghz printed no report: {said or 'nothing at all'}") from None
    return report


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
