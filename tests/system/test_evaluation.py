"""`trivium eval` on real processes: figures, a calibration that the reranker takes, nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.system import clean_environment
from services.reranker.calibration import load_calibration
from tests.installation import ROOT, Installation, run_cli
from tests.unit.judged_sets import CORPUS, write_set
from tests.waiting import wait_until

MEASURES = ("ndcg@10", "mrr@10", "recall@10", "recall@100")
RANKINGS = ("dense", "bm25", "fused", "reranked")
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cli.__main__ import app; app()"
)
"""The command as in a terminal: whoever runs the tests in the background has them ignore Ctrl-C."""
SUBJECTS = ("heron", "frog", "mill", "owl", "otter", "weir", "barley", "ferry", "beacon", "gull", "kiln", "forge")


def judged_set(folder: Path) -> Path:
    """Twelve subjects with an answer each, two documents about each of them, and twelve questions about none."""
    corpus = [
        {"_id": f"{subject}-{number}", "title": f"The {subject}", "text": text}
        for day, subject in enumerate(SUBJECTS, 1)
        for number, text in enumerate(
            [f"The {subject} is busiest on day {day}00 of the year.", f"Nobody paints the {subject} any more."]
        )
    ]
    queries: list[dict[str, Any]] = [
        {
            "_id": subject,
            "text": f"On which day is the {subject} busiest?",
            "metadata": {"answers": [f"day {day}00"], "kind": "busy"},
        }
        for day, subject in enumerate(SUBJECTS, 1)
    ]
    queries += [
        {
            "_id": f"no-{number}",
            "text": f"Who won match {number} of the chess final?",
            "metadata": {"unanswerable": True},
        }
        for number in range(12)
    ]
    qrels = [row for subject in SUBJECTS for row in (f"{subject}\t{subject}-0\t2", f"{subject}\t{subject}-1\t1")]
    return write_set(folder, corpus, queries, qrels)


def evaluation(*arguments: str | Path) -> dict[str, Any]:
    """What `trivium eval --json` prints: one object and nothing else."""
    report: dict[str, Any] = json.loads(run_cli("eval", *map(str, arguments), "--json"))
    return report


def test_running_processes_are_measured_and_calibrated(trivium: Installation, tmp_path: Path) -> None:
    addresses = ("--gateway", trivium.address("gateway"), "--indexer", trivium.address("indexer"))
    calibration = tmp_path / "calibration.json"
    report = evaluation(judged_set(tmp_path / "set"), *addresses, "--calibrate", calibration)
    for ranking in RANKINGS:
        for measure in MEASURES:
            low, high = report[ranking]["intervals"][measure]
            assert 0.5 < low <= report[ranking][measure] <= high <= 1
    assert report["answers"]["in_evidence"] > 0.5
    assert (report["abstention"]["num_unanswerable"], report["abstention"]["num_refused"]) == (12, 12)
    assert report["by_kind"]["busy"]["num_questions"] == 12
    assert (report["index"]["num_documents"], report["settings"]["num_passages"]["dense"]) == (24, 100)
    assert not report["failed"]

    fitted = load_calibration(calibration, "late-interaction", report_sha256(report))
    assert fitted.abstention_threshold == report["calibration"]["abstention_threshold"]
    assert report["calibration"]["held_out"]["refusals"] > 0.5

    written = tmp_path / "a.json"
    written.write_text(json.dumps(report))
    compared = json.loads(run_cli("eval", "--compare", str(written), str(written), "--json"))
    assert compared["reranked"]["ndcg@10"]["p_value"] == 1.0


def report_sha256(report: dict[str, Any]) -> str:
    from chassis.checkpoint import EMBEDDED_SHA256

    assert EMBEDDED_SHA256.startswith(report["models"]["reranker"]["revision"])
    return EMBEDDED_SHA256


def test_it_starts_what_it_needs_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    finished = subprocess.run(
        command(write_set(tmp_path / "set")), env=environment(temporary), cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    for line in (
        "dense",
        "reranked vs fused",
        "answers (2 questions)",
        "abstention: 1 of 1 (100.0%)",
        "3 documents in 3",
    ):
        assert line in finished.stdout
    assert not list(temporary.glob("trivium*"))
    assert not list(started_with(temporary))


def test_an_interrupted_evaluation_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    corpus = [{**one, "_id": f"{one['_id']}-{number}"} for number in range(2_000) for one in CORPUS]
    folder = write_set(tmp_path / "set", corpus, qrels=["q1\theron-0\t1"])
    arguments = [sys.executable, "-c", INTERRUPTIBLE, *command(folder)[3:]]
    process = subprocess.Popen(arguments, env=environment(temporary), cwd=ROOT, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: list(temporary.glob("trivium-eval-*/eval-*/log/*")), timeout_s=600)
        assert list(started_with(temporary)), "it runs processes that must end"
        process.send_signal(signal.SIGINT)  # what Ctrl-C sends
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0, errors
    assert not list(temporary.glob("trivium*"))
    assert not list(started_with(temporary))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["set", "--gateway", "127.0.0.1:1"], "--gateway and --indexer go together"),
        (["set", "--gateway", "127.0.0.1:1", "--indexer", "127.0.0.1:1"], "no indexer answers at 127.0.0.1:1"),
        (["nowhere"], "no such file"),
        (["set", "--calibrate", "nowhere/calibration.json"], "is not a file in a folder that exists"),
        (["--compare", "a.json", "b.json"], "a.json: cannot be read"),
        ([], "either DIR or --compare"),
    ],
    ids=["one-address", "nobody-there", "no-set", "no-folder", "no-file", "nothing"],
)
def test_what_cannot_be_evaluated_is_said_in_a_line(tmp_path: Path, arguments: list[str], reason: str) -> None:
    write_set(tmp_path / "set")
    finished = subprocess.run(
        [sys.executable, "-m", "cli", "eval", *arguments],
        env=clean_environment() | {"COLUMNS": "200"}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert finished.returncode != 0
    assert reason in finished.stderr
    assert "Traceback" not in finished.stderr


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "cli", "eval", str(folder), "--device", "cpu"]


def environment(temporary: Path) -> dict[str, str]:
    return clean_environment() | {"TMPDIR": str(temporary)}


def started_with(temporary: Path) -> Iterator[int]:
    """Processes that have this folder in their environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(temporary).encode() in path.read_bytes():
                yield int(path.parent.name)
        except OSError:  # another's, or gone
            continue
