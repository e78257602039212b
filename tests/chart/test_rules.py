"""The alerts, tried by promtool in worlds where one thing is wrong: that one alert fires and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.chart.prometheus import (
    OF_THE_GPU,
    RULES,
    RUNBOOK,
    alerts,
    assert_fires,
    assert_says,
    documented_metrics,
    metrics_read,
    promtool,
    rules,
    shown_metrics,
)
from tests.chart.rendering import objects
from tests.chart.worlds import HEALTHY, LATE, WRONG, calls
from tests.installation import ROOT, Installation


def labels(alert: str) -> str:
    """`{alertname="TriviumProcessDown", process="gateway"}` of `ProcessDown gateway`."""
    name, _, kind = alert.partition(" ")
    extra = {"ProcessDown": f', process="{kind}"', "AnswersDegraded": f', step="{kind}"'}.get(name, "")
    return f'{{alertname="Trivium{name}"{extra}}}'


def test_promtool_finds_no_fault_with_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


def test_where_all_is_well_nothing_fires(tmp_path: Path) -> None:
    assert_fires(tmp_path, HEALTHY, LATE, [])


@pytest.mark.parametrize("what", WRONG)
def test_exactly_the_right_alerts_fire(tmp_path: Path, what: str) -> None:
    changes, expected = WRONG[what]
    assert_fires(tmp_path, {**HEALTHY, **changes}, LATE, map(labels, expected))


def test_every_alert_was_seen_firing() -> None:
    fired = {f"Trivium{alert.partition(' ')[0]}" for _, expected in WRONG.values() for alert in expected}
    assert fired == {rule["alert"] for rule in alerts()}


def test_another_installation_is_not_looked_at(tmp_path: Path) -> None:
    elsewhere = {series.replace('namespace="trivium"', 'namespace="other"'): "0x400" for series in HEALTHY}
    assert_fires(tmp_path, {**HEALTHY, **elsewhere}, LATE, [])


def test_an_alert_says_what_and_where(tmp_path: Path) -> None:
    world = {**HEALTHY, calls("generator", "INTERNAL"): "0+20x400"}
    said = {
        "exp_labels": {"namespace": "trivium", "job": "trivium-generator", "severity": "warning"},
        "exp_annotations": {
            "summary": "A stage fails",
            "description": "25% of the calls of trivium-generator ended in a fault.",
            "runbook_url": "docs/kubernetes.md#triviumstagefailing",
        },
    }
    assert_says(tmp_path, world, LATE, "TriviumStageFailing", [said])


def test_every_alert_is_explained_and_leads_to_the_runbook() -> None:
    anchors = {title.lower() for title in re.findall(r"^#+ (\w+)$", RUNBOOK.read_text(), re.MULTILINE)}
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert ROOT / page == RUNBOOK
        assert anchor in anchors, f"docs/kubernetes.md has no section for {alert['alert']}"


def test_the_rules_read_documented_metrics() -> None:
    assert metrics_read(rule["expr"] for rule in rules()) <= documented_metrics()


def test_the_rules_read_metrics_that_the_processes_show(trivium: Installation) -> None:
    read = {name for name in metrics_read(rule["expr"] for rule in rules()) if not name.startswith(OF_THE_GPU)}
    assert {"trivium_ready", "trivium_request_duration_seconds"} <= read
    assert read <= shown_metrics(trivium)


def test_the_chart_brings_the_rules_for_its_own_namespace() -> None:
    (brought,) = (one["spec"]["groups"] for one in objects("everything-on") if one["kind"] == "PrometheusRule")
    text = RULES.read_text().replace('namespace="trivium"', 'namespace="questions"')
    assert brought == yaml.safe_load(text)["groups"]
    assert 'namespace="trivium"' not in str(brought)
