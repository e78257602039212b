"""Columns of tables become typed metadata, or the row says why not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from cli.reading.options import ReadOptions
from cli.reading.read import Reading, read_all

FIELDS = {
    "team": "string",
    "tags": "strings",
    "year": "integer",
    "price": "number",
    "draft": "boolean",
    "at": "time",
}


def read(tmp_path: Path, name: str, content: str, **fields: str) -> list[Reading]:
    path = tmp_path / name
    path.write_text(content)
    return list(read_all([path], ReadOptions(metadata_fields=fields or FIELDS, workers=1)))


def metadata_of(reading: Reading) -> dict[str, Any]:
    assert reading.document is not None, reading.reason
    fields = json_format.MessageToDict(reading.document, preserving_proto_field_name=True).get("metadata", {})
    return {name: value for name, typed in fields.items() for value in typed.values()}


def test_a_row_of_csv_becomes_a_document_with_metadata(tmp_path: Path) -> None:
    head = "text,team,tags,year,price,draft,at"
    readings = read(tmp_path, "a.csv", f"{head}\nwords, ops ,a; b;,-3,1.5,True,2026-02-03T04:05:06+01:00\nmore,,,,,,\n")
    assert metadata_of(readings[0]) == {
        "team": "ops",
        "tags": {"values": ["a", "b"]},
        "year": "-3",
        "price": 1.5,
        "draft": True,
        "at": "2026-02-03T03:05:06Z",
    }
    assert metadata_of(readings[1]) == {}


def test_a_json_object_becomes_a_document_with_metadata(tmp_path: Path) -> None:
    row = {
        "text": "words",
        "tags": ["a;b", "c"],
        "year": 7,
        "price": 2,
        "draft": False,
        "at": "2026-02-03",
        "team": None,
    }
    [reading] = read(tmp_path, "a.jsonl", json.dumps(row))
    assert metadata_of(reading) == {
        "tags": {"values": ["a;b", "c"]},
        "year": "7",
        "price": 2.0,
        "draft": False,
        "at": "2026-02-03T00:00:00Z",
    }
    assert reading.document is not None
    assert reading.document.metadata["at"].time_value.ToDatetime(UTC) == datetime(2026, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("year", "2024.5", "has a year that is no integer"),
        ("year", 2**63, "has a year that is no integer"),
        ("year", True, "has a year that is no integer"),
        ("year", [1, 2], "has several values of year, which is of type integer"),
        ("price", "nan", "has a price that is no number"),
        ("draft", "yes", "has a draft that is no boolean"),
        ("at", "yesterday", "has a at that is no time"),
    ],
    ids=str,
)
def test_a_value_of_another_type_refuses_its_row_alone(tmp_path: Path, field: str, value: Any, reason: str) -> None:
    rows = [{"text": "words", field: value}, {"text": "more"}]
    readings = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [reading.reason for reading in readings] == [f"row 1 {reason}", ""]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    [reading] = read(tmp_path, "a.csv", "text,yaer\nwords,1\n", year="integer")
    assert reading.reason == "row 1 has no field 'year'; it has 'text', 'yaer'"


def test_metadata_is_not_among_the_text(tmp_path: Path) -> None:
    [reading] = read(tmp_path, "a.csv", "colour,year\nred,7\n", year="integer")
    assert reading.document is not None
    assert [section.text for section in reading.document.sections] == ["colour: red"]
