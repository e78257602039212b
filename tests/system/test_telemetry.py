"""Metrics and logs as an on-call engineer finds them."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.installation import ROOT, Installation
from trivium.v1 import gateway_pb2

OF_THE_GPU = "trivium_device_"
OF_GENERATION = {
    *("trivium_time_to_first_token_seconds", "trivium_time_per_output_token_seconds"),
    *("trivium_cache_tokens_limit", "trivium_cache_tokens_reserved", "trivium_cache_tokens_used"),
    *("trivium_answers_finished_total", "trivium_answers_put_back_total", "trivium_citations_removed_total"),
}
OF_THE_GATEWAY = {"trivium_degraded_total"}
OF_THE_INDEX = {"trivium_index_version", "trivium_live_passages"}
OF_EVERY_PROCESS = {"trivium_request_duration_seconds", "trivium_event_loop_lag_seconds", "trivium_ready"}


def documented() -> set[str]:
    """Every metric that docs/operations.md has in its table."""
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| (`trivium_[^|]*) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(trivium_\w+)`", row) if not name.startswith(OF_THE_GPU)}


def scrape(address: str) -> str:
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(reply.read().decode())


def shown(trivium: Installation, process: str) -> set[str]:
    (one,) = trivium.processes.named(process)
    parse: Any = text_string_to_metric_families
    families = parse(scrape(one.metrics_address))
    return {family.name for family in families}


@pytest.mark.parametrize(
    ("process", "without"),
    [("generator", OF_THE_INDEX), ("reranker", OF_THE_INDEX | OF_GENERATION), ("retriever", OF_GENERATION)],
)
def test_every_documented_metric_is_shown(trivium: Installation, process: str, without: set[str]) -> None:
    expected = {name.removesuffix("_total") for name in documented() - without - OF_THE_GATEWAY}
    assert len(expected) >= 12
    assert expected <= shown(trivium, process)


def test_a_gateway_shows_requests_and_no_queue(trivium: Installation) -> None:
    names = shown(trivium, "gateway")
    assert names >= OF_EVERY_PROCESS
    assert "trivium_queue_depth" not in names


def test_durations_carry_the_trace_ids_of_real_questions(trivium: Installation) -> None:
    request = gateway_pb2.AnswerRequest(question="Which metric does autoscaling read?")
    trace_id = trivium.stub("gateway").Answer(request, timeout=30).report.trace_id
    assert f'trace_id="{trace_id}"' in scrape(trivium.processes.named("gateway")[0].metrics_address)


def test_every_log_line_is_a_json_object_with_the_agreed_fields(trivium: Installation) -> None:
    paths = sorted((trivium.folder / "logs").glob("*.log"))
    assert len(paths) == 5
    for path in paths:
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        assert {"listening", "serving"} <= {line["event"] for line in lines}
        assert all({"time", "level", "event", "service", "logger"} <= line.keys() for line in lines)
