"""Writes what the chart's values and schema say of the processes' settings: `python -m tools.chart`."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from tools.settings import MODULE_BY_PROCESS, config_class, docstrings

CHART = Path(__file__).resolve().parents[1] / "helm" / "trivium"
VALUES, SCHEMA = CHART / "values.yaml", CHART / "values.schema.json"
FACTS = CHART / "files" / "processes.yaml"

CHART_SET = frozenset(
    [
        "listen_address",
        "metrics_address",
        "health_address",
        "retriever_address",
        "reranker_address",
        "generator_address",
        "otlp_endpoint",
        "trace_sample_ratio",
        "device_exclusive",
        "collections_path",
        "tls_certificate_path",
        "tls_key_path",
        "tls_ca_path",
    ]
)
"""Fields that follow from other values: templates/_config.tpl fills them in."""

WIDTH = 120

WITHOUT_MODEL = frozenset({"gpu", "runtimeClassName", "models"})
"""Keys of `workload` that mean nothing to a process without a model."""

WITHOUT_REPLICAS = frozenset({"replicas", "strategy", "autoscaling", "topologySpread"})
"""Keys of `workload` that mean nothing to a process of which there is always one."""


DISPENSABLE = frozenset({"runAsUser", "requests", "limits", "labels"})
"""Keys that null may take out of the values."""


def camel(name: str) -> str:
    """`max_batch_tokens` as values spell it: `maxBatchTokens`."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def fields(process: str) -> list[dataclasses.Field[Any]]:
    """The settings of a process that its `config` holds, in the dataclass's order."""
    return [field for field in dataclasses.fields(config_class(process)) if field.name not in CHART_SET]


def meanings(process: str) -> dict[str, str]:
    """What each setting means: its docstring, in which other settings bear the names that they have in values."""
    config = config_class(process)
    names = "|".join(field.name for field in dataclasses.fields(config) if "_" in field.name)
    return {
        name: re.sub(rf"`({names})`", lambda found: f"`{camel(found[1])}`", text)
        for name, text in docstrings(config).items()
    }


def values_block(process: str) -> str:
    """The process's `config` in values.yaml: each setting with its default under its docstring."""
    texts = meanings(process)
    lines = ["  config:"]
    for field in fields(process):
        lines += textwrap.wrap(texts[field.name], WIDTH, initial_indent="    # ", subsequent_indent="    # ")
        lines.append(f"    {camel(field.name)}: {_scalar(field.default)}")
    return "\n".join(lines) + "\n"


def values() -> str:
    """values.yaml as it should be: every `config` block written anew, all else as it is."""
    text = VALUES.read_text()
    for process in MODULE_BY_PROCESS:
        block = re.compile(rf"(^{process}:\n(?:(?: .*)?\n)*?)  config:.*\n(?:    .*\n)*", re.M)
        text, count = block.subn(lambda found: found[1] + values_block(process), text)  # noqa: B023 (called at once)
        assert count == 1, f"values.yaml has {count} config blocks for {process}"
    return text


def config_schema(process: str) -> dict[str, Any]:
    """The schema of a process's `config`: the dataclass's types, bounds and choices, and nothing else."""
    texts, types = meanings(process), TypeAdapter(config_class(process)).json_schema()["properties"]
    properties = {camel(field.name): _described(types[field.name], texts[field.name]) for field in fields(process)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def process_schema(process: str, workload: Iterable[str]) -> dict[str, Any]:
    """The schema of a process's values: its `config`, and what of `workload` means something to it."""
    facts = yaml.safe_load(FACTS.read_text())[process]
    meaningless = (frozenset() if facts.get("hasModel") else WITHOUT_MODEL) | (
        frozenset() if facts.get("scaledBy") else WITHOUT_REPLICAS
    )
    properties = {
        key: {"$ref": f"#/definitions/workload/properties/{key}"} for key in workload if key not in meaningless
    }
    if facts.get("scaledBy") == "cpu":
        properties["autoscaling"] = {"$ref": "#/definitions/autoscalingByCpu"}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**properties, "config": {"$ref": f"#/definitions/{process}Config"}},
    }


def presence(of_values: dict[str, Any]) -> dict[str, Any]:
    """The schema by which no key is missing: null takes a key out of the values, and templates would read nothing."""
    needed = {key: value for key, value in of_values.items() if key not in DISPENSABLE and value is not None}
    below = {key: presence(value) for key, value in needed.items() if isinstance(value, dict)}
    below = {key: schema for key, schema in below.items() if schema["required"]}
    return {"required": list(needed), **({"properties": below} if below else {})}


def schema() -> str:
    """values.schema.json as it should be: what it says of the processes written anew, all else as it is."""
    whole = json.loads(SCHEMA.read_text())
    whole["allOf"] = [presence(yaml.safe_load(values()))]
    for process in MODULE_BY_PROCESS:
        whole["definitions"][f"{process}Config"] = config_schema(process)
        whole["properties"][process] = process_schema(process, whole["definitions"]["workload"]["properties"])
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _described(property_schema: dict[str, Any], text: str) -> dict[str, Any]:
    kept = {key: value for key, value in property_schema.items() if key not in ("title", "default", "format")}
    if "anyOf" in kept:
        kinds = kept.pop("anyOf")
        kept = {name: value for one in kinds for name, value in one.items() if name != "format"}
        kept["type"] = [one["type"] for one in kinds]
    return {"description": text, **kept}


def _scalar(value: Any) -> str:
    plain = str(value) if isinstance(value, Path) else value
    if plain is None or plain == "":
        return "null" if plain is None else '""'
    return yaml.safe_dump(plain, width=WIDTH).splitlines()[0]


if __name__ == "__main__":
    VALUES.write_text(values())
    SCHEMA.write_text(schema())
