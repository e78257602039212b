"""Filters choose what a plain reading of them chooses, from columns in memory and from columns on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.retriever import metadata
from services.retriever.columns import Columns
from services.retriever.filter import AllOf, AnyOf, Bound, Equals, Filter, NoneOf, OneOf, Range, check, select
from services.retriever.manifest import UnreadableIndex
from services.retriever.metadata import Fields, FieldType, InvalidField, Metadata, Value
from services.retriever.passage import Passage
from tests.unit.collections_on_disk import file_size_limit

FIELDS: Fields = {
    "team": FieldType.STRING,
    "tags": FieldType.STRINGS,
    "year": FieldType.INTEGER,
    "price": FieldType.NUMBER,
    "draft": FieldType.BOOLEAN,
    "at": FieldType.TIME,
}
TEXTS = ["", "ops", "Ops", "o", "ops ", "ärger", "中文", "\0"]
MIN_TIME, MAX_TIME = datetime.min, datetime.max

texts = st.sampled_from(TEXTS) | st.text(max_size=4).filter(
    lambda text: not any("\ud800" <= c <= "\udfff" for c in text)
)
numbers = st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e308]) | st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
times = st.datetimes(MIN_TIME, MAX_TIME, timezones=st.just(UTC)) | st.sampled_from([metadata.EPOCH])
VALUES: dict[FieldType, st.SearchStrategy[Any]] = {
    FieldType.STRING: texts,
    FieldType.STRINGS: st.lists(texts, max_size=3).map(tuple),
    FieldType.INTEGER: integers,
    FieldType.NUMBER: numbers,
    FieldType.BOOLEAN: st.booleans(),
    FieldType.TIME: times,
}
documents = st.lists(
    st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in FIELDS.items()}), max_size=8
)
ORDERED = ["year", "price", "at"]


def compared(name: str) -> st.SearchStrategy[Any]:
    return VALUES[FIELDS[name].compared_with]


def ranges(name: str) -> st.SearchStrategy[Filter]:
    def build(values: list[Any], withins: tuple[bool, bool], sides: str) -> Filter:
        low, high = sorted(values)
        lower, upper = Bound(low, withins[0]), Bound(high, withins[1])
        return Range(name, lower if "l" in sides else None, upper if "u" in sides else None)

    pairs = st.lists(compared(name), min_size=2, max_size=2)
    return st.builds(build, pairs, st.tuples(st.booleans(), st.booleans()), st.sampled_from(["l", "u", "lu"]))


conditions = st.one_of(
    st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.builds(Equals, st.just(name), compared(name))),
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda name: st.builds(OneOf, st.just(name), st.lists(compared(name), min_size=1, max_size=4).map(tuple))
    ),
    st.sampled_from(ORDERED).flatmap(ranges),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    conditions,
    lambda inner: st.builds(
        lambda group, several: group(tuple(several)),
        st.sampled_from([AllOf, AnyOf, NoneOf]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def chooses(wanted: Filter, document: Metadata) -> bool:
    """A filter read word by word."""

    def values(name: str) -> Sequence[Any]:
        value = document.get(name)
        return () if value is None else value if isinstance(value, tuple) else (value,)

    match wanted:
        case Equals(name, value):
            return value in values(name)
        case OneOf(name, several):
            return any(value in several for value in values(name))
        case Range(name, lower, upper):
            return any(_is_within(value, lower, upper) for value in values(name))
        case AllOf(several):
            return all(chooses(one, document) for one in several)
        case AnyOf(several):
            return any(chooses(one, document) for one in several)
        case NoneOf(several):
            return not any(chooses(one, document) for one in several)


def _is_within(value: Any, lower: Any, upper: Any) -> bool:
    is_above = lower is None or value > lower.value or (lower.is_within and value == lower.value)
    is_below = upper is None or value < upper.value or (upper.is_within and value == upper.value)
    return bool(is_above and is_below)


def passage(metadata: Metadata) -> Passage:
    return Passage("a#0", "a", "", (), "text", "", None, 0, 4, metadata)


def reopened(columns: Columns) -> Columns:
    with tempfile.TemporaryDirectory() as directory:
        columns.write(Path(directory) / "columns")
        return Columns.open(Path(directory) / "columns", columns.num_passages)


@settings(max_examples=300, deadline=None)
@given(filters, documents)
def test_a_filter_chooses_what_a_plain_reading_chooses(wanted: Filter, documents: list[dict[str, Value]]) -> None:
    check(wanted, FIELDS)
    columns = Columns.of([passage(document) for document in documents], FIELDS)
    expected = [chooses(wanted, document) for document in documents]
    assert select(wanted, columns).tolist() == expected
    assert select(wanted, reopened(columns)).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(documents)
def test_metadata_survives_the_passages_json(documents: list[dict[str, Value]]) -> None:
    for document in documents:
        again = Passage.from_json(passage(document).to_json())
        assert again == passage(document)
        assert {name: type(value) for name, value in again.metadata.items()} == {
            name: type(value) for name, value in document.items()
        }


def test_a_passage_without_metadata_is_written_as_it_was_before_there_was_any() -> None:
    assert "metadata" not in json.loads(passage({}).to_json())


YEAR = Equals("year", 2024)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Equals("yaer", 2024), "filter.equals.field"),
        (Equals("year", "2024"), "filter.equals.value"),
        (Equals("year", 2024.0), "filter.equals.value"),
        (Equals("year", True), "filter.equals.value"),
        (Equals("draft", 1), "filter.equals.value"),
        (Equals("tags", ("a",)), "filter.equals.value"),
        (Equals("price", float("nan")), "filter.equals.value"),
        (Equals("team", "t" * 1_025), "filter.equals.value"),
        (OneOf("year", ()), "filter.one_of.values"),
        (OneOf("team", ("ops", 1)), "filter.one_of.values[1]"),
        (Range("year"), "filter.range"),
        (Range("team", Bound("a", True)), "filter.range.field"),
        (Range("tags", Bound("a", True)), "filter.range.field"),
        (Range("draft", Bound(False, True)), "filter.range.field"),
        (Range("year", Bound(2.0, True)), "filter.range.at_least"),
        (Range("year", Bound(2.0, False)), "filter.range.above"),
        (Range("price", upper=Bound(float("inf"), True)), "filter.range.at_most"),
        (Range("price", upper=Bound(1, False)), "filter.range.below"),
        (Range("year", Bound(3, True), Bound(2, True)), "filter.range"),
        (AllOf(()), "filter.all_of.filters"),
        (AnyOf((YEAR, AllOf((YEAR, NoneOf(()))))), "filter.any_of.filters[1].all_of.filters[1].none_of.filters"),
        (AllOf((YEAR, YEAR, Range("year", Bound("x", True)))), "filter.all_of.filters[2].range.at_least"),
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_is_refused_by_field(wanted: Filter, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        check(wanted, FIELDS)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"unknown": 1}, 'document.metadata["unknown"]'),
        ({"year": 2024, "draft": "no"}, 'document.metadata["draft"]'),
        ({"year": None}, 'document.metadata["year"]'),
        ({"price": 1}, 'document.metadata["price"]'),
        ({"price": float("inf")}, 'document.metadata["price"]'),
        ({"team": "t" * 1_025}, 'document.metadata["team"]'),
        ({"tags": ("t",) * 101}, 'document.metadata["tags"]'),
        ({"tags": ("t" * 1_025,)}, 'document.metadata["tags"]'),
        ({"tags": ("t" * 1_024,) * 4, "team": "t"}, "document.metadata"),
    ],
    ids=lambda sent: str(sent)[:30],
)
def test_a_value_that_cannot_be_is_refused_by_field(sent: dict[str, Value | None], field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        metadata.require_declared("document.metadata", sent, FIELDS)
    assert raised.value.field == field


def test_limits_may_be_reached() -> None:
    sent: dict[str, Value | None] = {
        "tags": (*["t" * 1_024] * 3, *"t" * 97),
        "team": "t" * 927,
        "year": -(2**63),
        "at": MAX_TIME.replace(tzinfo=UTC),
    }
    metadata.require_declared("document.metadata", sent, FIELDS)
    metadata.require_fields([(f"{'f' * 62}{number:02}", FieldType.TIME) for number in range(32)])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ([("", FieldType.STRING)], "fields[0].name"),
        ([("a", FieldType.STRING), ("b c", FieldType.STRING)], "fields[1].name"),
        ([("1", FieldType.STRING)], "fields[0].name"),
        ([("f" * 65, FieldType.STRING)], "fields[0].name"),
        ([("ä", FieldType.STRING)], "fields[0].name"),
        ([("a", FieldType.STRING), ("a", FieldType.TIME)], "fields[1].name"),
        ([(f"f{number}", FieldType.STRING) for number in range(33)], "fields"),
    ],
    ids=lambda fields: str(fields)[:30],
)
def test_fields_that_cannot_be_declared_are_refused(fields: list[tuple[str, FieldType]], field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        metadata.require_fields(fields)
    assert raised.value.field == field


# Columns on disk


def test_without_fields_nothing_is_written_and_nothing_can_be_named(tmp_path: Path) -> None:
    Columns.of([passage({})], {}).write(tmp_path / "columns")
    assert not (tmp_path / "columns").exists()
    columns = Columns.open(tmp_path / "columns", 1)
    assert columns.fields == {}
    with pytest.raises(InvalidField, match="declares no fields"):
        check(YEAR, columns.fields)


def test_columns_on_disk_are_mapped_and_hold_no_pickle(tmp_path: Path) -> None:
    Columns.of([passage({"team": "ops", "year": 1})] * 3, FIELDS).write(tmp_path / "columns")
    opened = Columns.open(tmp_path / "columns", 3)
    values = opened._column_by_name["team"].values
    assert isinstance(values.base, np.memmap)
    assert not values.flags.writeable
    np.save(tmp_path / "columns" / "00.values.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableIndex, match="columns"):
        Columns.open(tmp_path / "columns", 3)


@pytest.mark.parametrize("damage", ["fields.json", "00.rows.npy", "04.text.npy"])
def test_columns_that_are_not_whole_are_refused(tmp_path: Path, damage: str) -> None:
    Columns.of([passage({"team": "ops", "tags": ("a",)})], FIELDS).write(tmp_path / "columns")
    with pytest.raises(UnreadableIndex, match="1 passages"):
        Columns.open(tmp_path / "columns", 2)
    (tmp_path / "columns" / damage).write_bytes(b"no")
    with pytest.raises(UnreadableIndex, match="columns"):
        Columns.open(tmp_path / "columns", 1)


def test_a_disk_that_refuses_the_columns_is_an_os_error(tmp_path: Path) -> None:
    columns = Columns.of([passage({"year": number}) for number in range(5_000)], FIELDS)
    with file_size_limit(10_000), pytest.raises(OSError, match=r"large|requested"):
        columns.write(tmp_path / "columns")
