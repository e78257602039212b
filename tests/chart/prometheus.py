"""Prometheus' side of the chart: the rules, promtool, and the metrics that an expression reads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.worlds import Series
from tests.installation import ROOT, Installation

FILES = ROOT / "helm" / "trivium" / "files"
RULES = FILES / "rules.yaml"
RUNBOOK = ROOT / "docs" / "kubernetes.md"

OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")
OF_THE_GPU = ("trivium_device_memory", "trivium_device_utilisation")
"""Shown where there is a GPU, and where tests run there is none."""


def rules() -> list[dict[str, Any]]:
    """Every rule of the file."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every alerting rule of the file."""
    return [rule for rule in rules() if "alert" in rule]


def metrics_read(expressions: Iterable[str]) -> set[str]:
    """The names of Trivium's own metrics in these expressions; of a histogram, the name without its suffix."""
    names = {name for text in expressions for name in re.findall(r"(?<![:\w])trivium_\w+(?!:)\b", text)}
    return {_family(name) for name in names}


def _family(name: str) -> str:
    for suffix in OF_A_HISTOGRAM:
        name = name.removesuffix(suffix)
    return name


def documented_metrics() -> set[str]:
    """Every metric that docs/operations.md has in its table."""
    rows = re.findall(r"^\| (`trivium_[^|]*) \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(trivium_\w+)`", row)}


def shown_metrics(trivium: Installation) -> set[str]:
    """Every metric that one of the running processes shows at /metrics."""
    text = ""
    for process in trivium.processes.all:
        with urllib.request.urlopen(f"http://{process.metrics_address}/metrics", timeout=10) as reply:
            text += reply.read().decode()
    return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))


def promtool(*arguments: str | Path) -> str:
    """What promtool prints. Skips without promtool; fails with its words where it finds fault."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, of Debian's package `prometheus`")
    finished = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def assert_fires(folder: Path, world: Series, at: str, expected: Iterable[str]) -> None:
    """With these series, exactly the expected alerts fire at that time."""
    test = {
        "input_series": [{"series": series, "values": values} for series, values in world.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, process, step) (ALERTS{alertstate="firing"})',
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
            }
        ],
    }
    _run(folder, test)


def assert_says(folder: Path, world: Series, at: str, alert: str, expected: Iterable[Mapping[str, Any]]) -> None:
    """With these series, that alert fires at that time with exactly these labels and annotations."""
    test = {
        "input_series": [{"series": series, "values": values} for series, values in world.items()],
        "alert_rule_test": [{"alertname": alert, "eval_time": at, "exp_alerts": list(expected)}],
    }
    _run(folder, test)


def _run(folder: Path, test: Mapping[str, Any]) -> None:
    path = folder / "test.yaml"
    suite = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [{"interval": "1m", **test}]}
    path.write_text(json.dumps(suite))
    promtool("test", "rules", path)
