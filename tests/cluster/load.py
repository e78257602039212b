"""Load on a release for as long as a block lasts, and what became of every question."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.daemons import inside
from tests.cluster.layout import ROOT
from tests.cluster.release import Release, wait_until

GHZ = ROOT / ".tools" / "bin" / "ghz"
ANSWER = "trivium.v1.GatewayService.Answer"


@dataclass
class Outcomes:
    """What became of the questions so far."""

    all: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Those of a kind: `unary` or `stream`."""
        return [one for one in self.all if one["kind"] == kind]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Refused, late, or a stream that did not come to its end."""
        return [one for one in self.all if one["status"] != "OK" or not one.get("whole", True)]

    @property
    def degraded(self) -> list[dict[str, Any]]:
        """Answered with less than all stages."""
        return [one for one in self.all if one.get("degraded")]

    def shares(self, stage: str, begin: float, end: float) -> Counter[str]:
        """How many of the questions asked between two Unix times each replica of a stage worked on."""
        asked = [one for one in self.all if begin <= one["at"] < end]
        return Counter(one["replicas"][stage] for one in asked if stage in one.get("replicas", ()))

    def first_of(self, stage: str, replica: str) -> float:
        """Unix time of the first answer that a replica worked on."""
        return min(float(one["until"]) for one in self.all if one.get("replicas", {}).get(stage) == replica)

    def wait_for_more(self, answers: int, timeout_s: float = 120) -> None:
        """Until so many more have an outcome."""
        enough = len(self.all) + answers
        wait_until(f"{answers} more answers", lambda: len(self.all) >= enough, timeout_s)

    def line(self) -> str:
        """Figures for a reader of the test's output."""
        took = sorted(one["ms"] for one in self.all)
        kinds = ", ".join(f"{len(self.of(kind))} {kind}" for kind in ("unary", "stream"))
        half, most = (took[int(len(took) * share)] for share in (0.5, 0.99))
        reasons = Counter(f"{one['status']}: {one.get('details', 'cut')}" for one in self.failed)
        failed = f"{len(self.failed)} failed {dict(reasons) or ''}".rstrip()
        return f"{kinds}; {failed}, {len(self.degraded)} degraded; p50 {half} ms, p99 {most} ms"


@contextmanager
def questions(release: Release, unary_rps: float = 0, stream_rps: float = 0, candidates: int = 2) -> Iterator[Outcomes]:
    """Questions by the generated stubs: replies are read, so that replicas can be counted."""
    options = ["--unary-rps", str(unary_rps), "--stream-rps", str(stream_rps), "--candidates", str(candidates)]
    command = inside(sys.executable, "-m", "tests.cluster.questions", release.cluster_address(), *options)
    seen = Outcomes()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        reader = threading.Thread(target=_read, args=(process, seen))
        reader.start()
        try:
            yield seen
        finally:
            process.terminate()
            reader.join()
    assert process.returncode == 0, "the client of the load failed"


def _read(process: subprocess.Popen[str], seen: Outcomes) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        seen.all.append(json.loads(line))


@dataclass
class GhzReport:
    """What ghz counted. Empty until it has ended."""

    count: int = 0
    rps: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    def line(self) -> str:
        """Figures for a reader of the test's output."""
        return (
            f"ghz: {self.count} at {self.rps:.1f}/s {self.statuses} {self.errors or ''} "
            f"p50 {self.p50_ms:.0f} ms p99 {self.p99_ms:.0f} ms"
        )


@contextmanager
def ghz(release: Release, rps: int, candidates: int = 2, connections: int = 4) -> Iterator[GhzReport]:
    """ghz at a steady rate until the block ends; it then waits for what is unanswered."""
    request = {"question": "What happens when the reranker is down?", "search": search_options(candidates)}
    command = inside(GHZ, *ghz_options(rps, connections), "--data", json.dumps(request), release.cluster_address())
    report = GhzReport()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(1)
            assert process.poll() is None, "ghz did not start"
            yield report
            assert process.poll() is None, "ghz ended before its load was to end"
        finally:
            process.send_signal(signal.SIGINT)
            output = process.stdout.read() if process.stdout else ""
    _fill(report, json.loads(output))


def search_options(candidates: int) -> dict[str, int]:
    """SearchOptions as JSON."""
    return {"num_candidates": candidates, "top_k": 1}


def ghz_options(rps: int, connections: int) -> list[str]:
    """ghz's own arguments, but data and address."""
    return [
        "--insecure",
        "--import-paths=protos",
        "--proto=protos/trivium/v1/gateway.proto",
        f"--call={ANSWER}",
        f"--rps={rps}",
        f"--connections={connections}",
        "--concurrency=50",
        "--duration=1h",
        "--duration-stop=wait",
        "--timeout=20s",
        "--format=json",
    ]


def _fill(report: GhzReport, told: dict[str, Any]) -> None:
    report.count, report.rps = told["count"], told["rps"]
    report.statuses = told["statusCodeDistribution"]
    report.errors = told["errorDistribution"]
    by_share = {one["percentage"]: one["latency"] / 1e6 for one in told.get("latencyDistribution") or ()}
    report.p50_ms, report.p99_ms = by_share.get(50, 0.0), by_share.get(99, 0.0)
