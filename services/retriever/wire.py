"""Metadata and filters as they are on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC

from chassis.errors import InvalidRequest
from services.retriever.filter import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    AllOf,
    AnyOf,
    Bound,
    Equals,
    Filter,
    NoneOf,
    OneOf,
    Range,
)
from services.retriever.metadata import Fields, FieldType, InvalidField, Metadata, Value, require_fields
from trivium.v1 import metadata_pb2

TYPE_BY_NUMBER = {
    metadata_pb2.FIELD_TYPE_STRING: FieldType.STRING,
    metadata_pb2.FIELD_TYPE_STRINGS: FieldType.STRINGS,
    metadata_pb2.FIELD_TYPE_INTEGER: FieldType.INTEGER,
    metadata_pb2.FIELD_TYPE_NUMBER: FieldType.NUMBER,
    metadata_pb2.FIELD_TYPE_BOOLEAN: FieldType.BOOLEAN,
    metadata_pb2.FIELD_TYPE_TIME: FieldType.TIME,
}
NUMBER_BY_TYPE = {field_type: number for number, field_type in TYPE_BY_NUMBER.items()}


@contextmanager
def field_at_fault() -> Iterator[None]:
    """What cannot be, as a caller gets it."""
    try:
        yield
    except InvalidField as fault:
        raise InvalidRequest(fault.field, fault.description) from None


def read_filter(message: metadata_pb2.Filter, path: str = "filter") -> Filter:
    """The filter, which is not larger than any may be. Raises InvalidField, naming the place from `path` on."""
    return _Reader().read(message, path, 1)


class _Reader:
    """Reads one filter, and counts what it has read."""

    def __init__(self) -> None:
        self._num_conditions = self._num_values = 0

    def read(self, message: metadata_pb2.Filter, path: str, depth: int) -> Filter:
        self._num_conditions += 1
        if self._num_conditions > MAX_CONDITIONS:
            raise InvalidField(path, f"a filter has at most {MAX_CONDITIONS} conditions")
        if depth > MAX_DEPTH:
            raise InvalidField(path, f"lies more than {MAX_DEPTH} deep")
        match message.WhichOneof("condition"):
            case "equals":
                return Equals(message.equals.field, _value(message.equals.value, f"{path}.equals.value"))
            case "one_of":
                return self._one_of(message.one_of, f"{path}.one_of.values")
            case "range":
                return _range(message.range, f"{path}.range")
            case "all_of":
                return AllOf(self._several(message.all_of, f"{path}.all_of", depth))
            case "any_of":
                return AnyOf(self._several(message.any_of, f"{path}.any_of", depth))
            case "none_of":
                return NoneOf(self._several(message.none_of, f"{path}.none_of", depth))
            case _:
                raise InvalidField(path, "has no condition that this service knows")

    def _several(self, message: metadata_pb2.Filters, path: str, depth: int) -> tuple[Filter, ...]:
        return tuple(
            self.read(one, f"{path}.filters[{number}]", depth + 1) for number, one in enumerate(message.filters)
        )

    def _one_of(self, message: metadata_pb2.OneOf, path: str) -> OneOf:
        self._num_values += len(message.values)
        if self._num_values > MAX_VALUES:
            raise InvalidField(path, f"a filter has at most {MAX_VALUES:,} of these values")
        return OneOf(
            message.field, tuple(_value(one, f"{path}[{number}]") for number, one in enumerate(message.values))
        )


def read_metadata(messages: Mapping[str, metadata_pb2.MetadataValue]) -> dict[str, Value | None]:
    """A document's, by name of the field; None for what is no value."""
    return {name: _value_or_none(message) for name, message in messages.items()}


def write_metadata(metadata: Metadata) -> dict[str, metadata_pb2.MetadataValue]:
    """What `read_metadata` read."""
    return {name: _message(value) for name, value in metadata.items()}


def read_fields(messages: Iterable[metadata_pb2.FieldDefinition]) -> Fields:
    """What a collection declares. Raises InvalidField."""
    fields = []
    for number, message in enumerate(messages):
        if message.type not in TYPE_BY_NUMBER:
            raise InvalidField(f"fields[{number}].type", f"one of {', '.join(one.name for one in FieldType)}")
        fields.append((message.name, TYPE_BY_NUMBER[message.type]))
    return require_fields(fields)


def write_fields(fields: Fields) -> list[metadata_pb2.FieldDefinition]:
    """In order of name."""
    return [metadata_pb2.FieldDefinition(name=name, type=NUMBER_BY_TYPE[fields[name]]) for name in sorted(fields)]


def _range(message: metadata_pb2.Range, path: str) -> Range:
    for one, other in (("at_least", "above"), ("at_most", "below")):
        if message.HasField(one) and message.HasField(other):
            raise InvalidField(f"{path}.{other}", f"not beside {one}")
    lower = upper = None
    if message.HasField("at_least"):
        lower = Bound(_value(message.at_least, f"{path}.at_least"), True)
    elif message.HasField("above"):
        lower = Bound(_value(message.above, f"{path}.above"), False)
    if message.HasField("at_most"):
        upper = Bound(_value(message.at_most, f"{path}.at_most"), True)
    elif message.HasField("below"):
        upper = Bound(_value(message.below, f"{path}.below"), False)
    return Range(message.field, lower, upper)


def _value(message: metadata_pb2.MetadataValue, path: str) -> Value:
    value = _value_or_none(message)
    if value is None:
        raise InvalidField(path, "holds no value")
    return value


def _value_or_none(message: metadata_pb2.MetadataValue) -> Value | None:
    """None when none is set that this service knows, or a time is none of years 1 to 9999."""
    match message.WhichOneof("kind"):
        case "string_value":
            return message.string_value
        case "strings_value":
            return tuple(message.strings_value.values)
        case "integer_value":
            return message.integer_value
        case "number_value":
            return message.number_value
        case "boolean_value":
            return message.boolean_value
        case "time_value":
            try:
                return message.time_value.ToDatetime(UTC)
            except (ValueError, OverflowError):
                return None
        case _:
            return None


def _message(value: Value) -> metadata_pb2.MetadataValue:
    message = metadata_pb2.MetadataValue()
    match value:
        case bool():
            message.boolean_value = value
        case str():
            message.string_value = value
        case int():
            message.integer_value = value
        case float():
            message.number_value = value
        case tuple():
            message.strings_value.values[:] = value
            message.strings_value.SetInParent()
        case _:
            message.time_value.FromDatetime(value)
    return message
