"""The dashboards are fresh, Prometheus reads their queries, and the metrics they show are there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.neighbourhood import of_kind
from tests.chart.prometheus import OF_THE_GPU, documented_metrics, metrics_read, promtool, shown_metrics
from tests.chart.rendering import objects
from tests.installation import Installation
from tests.waiting import wait_until
from tools import dashboards

VALUES_OF_VARIABLES = {"$__rate_interval": "5m", "$namespace": "trivium", "$job": ".+"}


def written() -> dict[str, Any]:
    """The committed dashboards by file name."""
    return {path.name: json.loads(path.read_text()) for path in dashboards.FOLDER.glob("*.json")}


def expressions() -> Iterator[str]:
    for board in written().values():
        for panel in board["panels"]:
            yield from (target["expr"] for target in panel.get("targets", []))


def test_the_dashboards_are_fresh() -> None:
    assert {path.name: path.read_text() for path in dashboards.FOLDER.iterdir()} == dashboards.texts()


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    rules = []
    for number, expression in enumerate(expressions()):
        for variable, value in VALUES_OF_VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        rules.append({"record": f"query_{number}", "expr": expression})
    assert len(rules) >= 30
    path = tmp_path / "queries.yaml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_every_documented_metric_is_on_a_dashboard_and_no_other() -> None:
    assert metrics_read(expressions()) == documented_metrics()


def test_the_dashboards_read_metrics_that_the_processes_show(trivium: Installation) -> None:
    read = {name for name in metrics_read(expressions()) if not name.startswith(OF_THE_GPU)}
    assert len(read) >= 15
    wait_until(lambda: read <= shown_metrics(trivium), timeout_s=30)  # those of an index once one is served


@pytest.mark.parametrize("name", dashboards.texts())
def test_a_dashboard_is_whole(name: str) -> None:
    board = written()[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) >= 10
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__rate_interval"}
    assert used == variables
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["targets"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_the_chart_brings_the_dashboards_as_they_are() -> None:
    maps = [
        one for one in of_kind(objects("everything-on"), "ConfigMap") if "grafana_dashboard" in str(one["metadata"])
    ]
    brought = {name: json.loads(text) for one in maps for name, text in one["data"].items()}
    assert brought == written()
