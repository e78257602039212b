"""Filters: which passages are searched, by the metadata of their documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.retriever.columns import Comparison, MetadataColumns, Rows
from services.retriever.metadata import (
    Fields,
    FieldType,
    InvalidField,
    Value,
    ordinal,
    require_field,
    require_short,
    require_type,
)

MAX_CONDITIONS = 100
MAX_DEPTH = 8
MAX_VALUES = 1_000
"""Of all `one_of` together."""
ORDERED = (FieldType.INTEGER, FieldType.NUMBER, FieldType.TIME)


@dataclass(frozen=True)
class Equals:
    """The field has this value."""

    field: str
    value: Value


@dataclass(frozen=True)
class OneOf:
    """The field has one of these values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Bound:
    """An end of a range."""

    value: Value
    is_within: bool


@dataclass(frozen=True)
class Range:
    """The field's value lies within both bounds; None is no bound."""

    field: str
    lower: Bound | None = None
    upper: Bound | None = None


@dataclass(frozen=True)
class AllOf:
    """Each of these holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one of these holds."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class NoneOf:
    """None of these holds."""

    filters: tuple[Filter, ...]


Filter = Equals | OneOf | Range | AllOf | AnyOf | NoneOf
NAME_BY_GROUP: dict[type, str] = {AllOf: "all_of", AnyOf: "any_of", NoneOf: "none_of"}


def check(wanted: Filter, fields: Fields, path: str = "filter") -> None:
    """Every field is declared, every value of its type. Raises InvalidField, naming the place from `path` on."""
    match wanted:
        case Equals(name, value):
            _check_values(f"{path}.equals", name, [("value", value)], fields)
        case OneOf(name, values):
            _require_some(f"{path}.one_of.values", values)
            places = [(f"values[{number}]", value) for number, value in enumerate(values)]
            _check_values(f"{path}.one_of", name, places, fields)
        case Range():
            _check_range(f"{path}.range", wanted, fields)
        case AllOf(filters) | AnyOf(filters) | NoneOf(filters):
            place = f"{path}.{NAME_BY_GROUP[type(wanted)]}.filters"
            _require_some(place, filters)
            for number, one in enumerate(filters):
                check(one, fields, f"{place}[{number}]")


def select(wanted: Filter, columns: MetadataColumns) -> Rows:
    """Which rows it chooses: bool, shape (num_passages,). It was checked with the columns' fields. Blocks."""
    match wanted:
        case Equals(name, value):
            return columns.holding(name, [value])
        case OneOf(name, values):
            return columns.holding(name, values)
        case Range(name, lower, upper):
            return columns.comparing(name, [*_lower(lower), *_upper(upper)])
        case AllOf(filters):
            return _combined(np.logical_and, filters, columns)
        case AnyOf(filters):
            return _combined(np.logical_or, filters, columns)
        case NoneOf(filters):
            return np.logical_not(_combined(np.logical_or, filters, columns))


def _check_values(path: str, name: str, places: Sequence[tuple[str, Value]], fields: Fields) -> None:
    field_type = require_field(f"{path}.field", name, fields)
    for place, value in places:
        require_type(f"{path}.{place}", value, field_type.compared_with)
        require_short(f"{path}.{place}", value)


def _check_range(path: str, wanted: Range, fields: Fields) -> None:
    lower, upper = wanted.lower, wanted.upper
    if lower is upper is None:
        raise InvalidField(path, "at least one bound")
    field_type = require_field(f"{path}.field", wanted.field, fields)
    if field_type not in ORDERED:
        raise InvalidField(f"{path}.field", f"is of type {field_type.name}, which has no order")
    if lower:
        require_type(f"{path}.{'at_least' if lower.is_within else 'above'}", lower.value, field_type)
    if upper:
        require_type(f"{path}.{'at_most' if upper.is_within else 'below'}", upper.value, field_type)
    if lower and upper and ordinal(lower.value) > ordinal(upper.value):
        raise InvalidField(path, "the lower bound is above the upper one")


def _require_some(path: str, several: Sequence[object]) -> None:
    if not several:
        raise InvalidField(path, "at least one")


def _lower(bound: Bound | None) -> list[tuple[Comparison, Value]]:
    return [(np.greater_equal if bound.is_within else np.greater, bound.value)] if bound else []


def _upper(bound: Bound | None) -> list[tuple[Comparison, Value]]:
    return [(np.less_equal if bound.is_within else np.less, bound.value)] if bound else []


def _combined(combine: Callable[..., Rows], filters: Sequence[Filter], columns: MetadataColumns) -> Rows:
    rows = select(filters[0], columns)
    for one in filters[1:]:
        rows = combine(rows, select(one, columns))
    return rows
