"""Filters and fields as they are typed: what cannot be is refused before anything is called."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.options import read_filter

NOWHERE = "127.0.0.1:1"
OPS = '{"equals": {"field": "team", "value": {"string_value": "ops"}}}'


def test_a_filter_is_read_by_the_contracts_names_or_those_of_its_json() -> None:
    found = read_filter(OPS)
    assert found is not None
    assert found == read_filter(OPS.replace("string_value", "stringValue"))
    assert (found.equals.field, found.equals.value.string_value) == ("team", "ops")
    assert read_filter("") is None


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["search", "x", "--gateway", NOWHERE, "--filter", "{"], "--filter"),
        (["ask", "x", "--gateway", NOWHERE, "--filter", '{"equal": {}}'], "--filter"),
        (["explain", "x", "--gateway", NOWHERE, "--filter", '{"equals": {"field": 1}}'], "--filter"),
        (["collection", "delete-documents", "a", "--indexer", NOWHERE], "either ids"),
        (["collection", "delete-documents", "a", "b", "--filter", OPS, "--indexer", NOWHERE], "either ids"),
        (["ingest", "x", "--indexer", NOWHERE, "--metadata", "year"], "--metadata"),
        (["ingest", "x", "--indexer", NOWHERE, "--metadata", "year:int"], "--metadata"),
        (["ingest", "x", "--indexer", NOWHERE, "--metadata", ":integer"], "--metadata"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_before_anything_is_called(arguments: list[str], hint: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert hint in done.output
