"""What documents say of themselves beside their text: fields that a collection declares, and typed values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

Value = str | tuple[str, ...] | int | float | bool | datetime
"""A tuple is a set of strings; a datetime is in UTC."""
Metadata = Mapping[str, Value]
"""By name of the field."""

MAX_FIELDS = 32
MAX_STRING_CHARACTERS = 1_024
MAX_STRINGS = 100
MAX_CHARACTERS = 4_096
"""Of all strings of a document together: every passage that is found carries them."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}", re.ASCII)
NAME_RULE = "1 to 64 of A-Z, a-z, 0-9, ., _ and -; begins with a letter or _"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class FieldType(Enum):
    """What the values of a field are."""

    STRING = "string"
    STRINGS = "strings"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"

    @property
    def compared_with(self) -> FieldType:
        """The type of the values that a filter may compare it with: a set of strings with one of them."""
        return FieldType.STRING if self is FieldType.STRINGS else self


Fields = Mapping[str, FieldType]
"""Those that a collection declares, by name."""
NO_FIELDS: Fields = {}

TYPE_BY_CLASS: Mapping[type, FieldType] = {
    str: FieldType.STRING,
    tuple: FieldType.STRINGS,
    int: FieldType.INTEGER,
    float: FieldType.NUMBER,
    bool: FieldType.BOOLEAN,
    datetime: FieldType.TIME,
}


class InvalidField(Exception):
    """What a caller sent cannot be. `field` is at fault, in proto names."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field, self.description = field, description


def require_fields(fields: Sequence[tuple[str, FieldType]]) -> Fields:
    """The fields by name. Raises InvalidField, naming one of `fields`."""
    if len(fields) > MAX_FIELDS:
        raise InvalidField("fields", f"at most {MAX_FIELDS}, got {len(fields):,}")
    found: dict[str, FieldType] = {}
    for number, (name, field_type) in enumerate(fields):
        if not NAME.fullmatch(name):
            raise InvalidField(f"fields[{number}].name", NAME_RULE)
        if name in found:
            raise InvalidField(f"fields[{number}].name", "must be unique in the request")
        found[name] = field_type
    return found


def require_declared(field: str, metadata: Mapping[str, Value | None], fields: Fields) -> None:
    """Every value is of a declared field and of its type. Raises InvalidField: `field["name"]`. None is no value."""
    for name, value in sorted(metadata.items()):
        place = f'{field}["{name[:64]}"]'
        if name not in fields:
            raise InvalidField(place, _undeclared(fields))
        require_type(place, value, fields[name])
        require_short(place, value)
    if sum(len(text) for value in metadata.values() for text in _strings(value)) > MAX_CHARACTERS:
        raise InvalidField(field, f"strings of at most {MAX_CHARACTERS:,} characters together")


def require_field(field: str, name: str, fields: Fields) -> FieldType:
    """The type of a declared field. Raises InvalidField."""
    if name not in fields:
        raise InvalidField(field, _undeclared(fields))
    return fields[name]


def require_type(field: str, value: Value | None, wanted: FieldType) -> None:
    """Raises InvalidField unless the value is of that type; None never is."""
    if value is None:
        raise InvalidField(field, f"must be a value of type {wanted.name}")
    found = TYPE_BY_CLASS[type(value)]
    if found is not wanted:
        raise InvalidField(field, f"must be of type {wanted.name}, is of type {found.name}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidField(field, "must be finite")


def require_short(field: str, value: Value | None) -> None:
    """Raises InvalidField for strings that are too long or too many."""
    strings = _strings(value)
    if len(strings) > MAX_STRINGS:
        raise InvalidField(field, f"at most {MAX_STRINGS} strings, got {len(strings):,}")
    if any(len(text) > MAX_STRING_CHARACTERS for text in strings):
        raise InvalidField(field, f"at most {MAX_STRING_CHARACTERS:,} characters")


def to_json(metadata: Metadata) -> dict[str, Any]:
    """For `json.dumps`: lists are sets of strings, `{"us": …}` is a time in microseconds since 1970."""
    return {
        name: {"us": microseconds(value)} if isinstance(value, datetime) else value for name, value in metadata.items()
    }


def from_json(fields: Mapping[str, Any]) -> Metadata:
    """What `to_json` made."""
    return {name: _value(value) for name, value in fields.items()}


def microseconds(time: datetime) -> int:
    """Since 1970, exactly."""
    return (time - EPOCH) // MICROSECOND


def ordinal(value: Value) -> int | float:
    """A number that is ordered as values of its type are. Only of types that have an order."""
    assert isinstance(value, (int, float, datetime)), "strings have no order"
    return microseconds(value) if isinstance(value, datetime) else value


def declared_to_json(fields: Fields) -> dict[str, str]:
    """Types by name, for `json.dumps`."""
    return {name: fields[name].value for name in sorted(fields)}


def declared_from_json(fields: Mapping[str, str]) -> Fields:
    """What `declared_to_json` made. Raises ValueError."""
    return {name: FieldType(value) for name, value in fields.items()}


def _strings(value: Value | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return EPOCH + value["us"] * MICROSECOND
    return value


def _undeclared(fields: Fields) -> str:
    if not fields:
        return "the collection declares no fields"
    return f"not a field of the collection, which has {', '.join(sorted(fields))}"
