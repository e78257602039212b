"""The chart's values are the processes' settings: none is missing, none is unknown, none changes on the way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from chassis.config import load
from tests.chart.rendering import CHART, PROCESSES, environment, run_helm
from tools import chart
from tools.settings import config_class

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
FACTS = yaml.safe_load((CHART / "files" / "processes.yaml").read_text())


def test_values_and_schema_are_fresh() -> None:
    assert chart.VALUES.read_text() == chart.values(), "run `python -m tools.chart`"
    assert chart.SCHEMA.read_text() == chart.schema(), "run `python -m tools.chart`"


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_has_its_value_and_every_value_its_setting(process: str) -> None:
    names = {field.name for field in dataclasses.fields(config_class(process))}
    assert set(VALUES[process]["config"]) == {chart.camel(name) for name in names - chart.CHART_SET}
    variables = environment(process, "without-crds")  # TLS on: nothing that the chart sets is left out
    unset = {name for name in names if getattr(config_class(process)(), name) is None}
    told = {variable.removeprefix(f"{process.upper()}_").lower() for variable in variables}
    assert told == names - (unset - chart.CHART_SET)


@pytest.mark.parametrize("process", PROCESSES)
def test_untouched_values_are_the_processes_own_defaults(process: str) -> None:
    config = load(config_class(process), process.upper(), environment(process))
    default = config_class(process)()
    for field in chart.fields(process):
        if field.name != "device":  # what `auto` means, the chart knows
            assert getattr(config, field.name) == getattr(default, field.name), field.name


@pytest.mark.parametrize("process", PROCESSES)
def test_every_value_arrives(process: str, tmp_path: Path) -> None:
    changed = {field.name: another(config_class(process), field) for field in chart.fields(process)}
    values = {chart.camel(name): value for name, value in changed.items()}
    whole = {name: {"config": dict(values) if name == process else {}} for name in PROCESSES}
    if process in ("retriever", "indexer"):  # these two must agree on how they encode
        alike = {key: values[key] for key in ("model", "encoder", "passageModel")}
        for name in ("retriever", "indexer"):
            whole[name]["config"] |= alike
    for name, key in LIMITS:
        whole[name]["config"].setdefault(key, 10_000 if name != "gateway" else 1)
    (tmp_path / "values.json").write_text(json.dumps(whole))
    printed = run_helm(
        "template", "trivium", CHART, f"--values={tmp_path}/values.json", f"--show-only=templates/{process}.yaml"
    )
    assert printed.returncode == 0, printed.stderr
    (settings,) = (one for one in yaml.safe_load_all(printed.stdout) if one and one["kind"] == "ConfigMap")
    config = load(config_class(process), process.upper(), settings["data"])
    assert {name: plain(getattr(config, name)) for name in changed} == changed


LIMITS = [
    ("gateway", "maxCandidates"),
    ("gateway", "maxTopK"),
    ("retriever", "maxTopK"),
    ("reranker", "maxCandidates"),
]
"""Settings of different processes that must agree."""


@pytest.mark.parametrize("process", PROCESSES)
def test_addresses_are_those_that_the_process_has_by_itself(process: str) -> None:
    config, own = load(config_class(process), process.upper(), environment(process)), config_class(process)()
    for kind, hundreds in (("listen", 70), ("metrics", 71), ("health", 72)):
        port = f"{hundreds}0{FACTS[process]['number']}"
        assert getattr(config, f"{kind}_address") == f"0.0.0.0:{port}"
        assert getattr(own, f"{kind}_address") == f"127.0.0.1:{port}"


def test_the_gateway_is_told_of_every_replica() -> None:
    variables = environment("gateway")
    for stage, port in (("retriever", 7001), ("reranker", 7003), ("generator", 7004)):
        assert variables[f"GATEWAY_{stage.upper()}_ADDRESS"] == f"dns:///trivium-{stage}.questions.svc:{port}"


@pytest.mark.parametrize("process", PROCESSES)
def test_telemetry_goes_to_every_process(process: str) -> None:
    config = load(config_class(process), process.upper(), environment(process, "everything-on"))
    assert (config.otlp_endpoint, config.trace_sample_ratio) == ("http://collector.observability:4317", 0.1)


def another(config: type[Any], field: dataclasses.Field[Any]) -> Any:
    """A value that the setting may have and has not by default."""
    schema = TypeAdapter(config).json_schema()["properties"][field.name]
    default = field.default
    if any(one.get("type") == "integer" for one in schema.get("anyOf", ())):
        return 777
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        smaller = default // 2
        return smaller if smaller >= schema.get("minimum", 1) else default + 1
    if isinstance(default, float):
        return default / 2 + 0.125
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != default)
    return "cuda:3" if field.name == "device" else "/models/other"


def plain(value: Any) -> Any:
    """A path as values spell it."""
    return str(value) if isinstance(value, Path) else value
