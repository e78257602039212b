"""Columns of tables as typed metadata."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cli.reading.parsed import Unreadable
from trivium.v1 import metadata_pb2

TYPES = ("string", "strings", "integer", "number", "boolean", "time")
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1

Fields = Mapping[str, str]
"""The type of each column that is metadata, by name."""


def metadata_of(texts: Mapping[str, Sequence[str]], fields: Fields) -> dict[str, metadata_pb2.MetadataValue]:
    """A row's; an empty text is no value. Several texts are those of a list. Raises Unreadable."""
    return {name: _value(name, texts[name], kind) for name, kind in fields.items() if any(texts.get(name, ()))}


def _value(name: str, texts: Sequence[str], kind: str) -> metadata_pb2.MetadataValue:
    if kind == "strings":
        members = texts if len(texts) > 1 else [one.strip() for one in texts[0].split(";")]
        return metadata_pb2.MetadataValue(strings_value=metadata_pb2.Strings(values=filter(None, members)))
    if len(texts) > 1:
        raise Unreadable(f"has several values of {name}, which is of type {kind}")
    try:
        return metadata_pb2.MetadataValue(**{f"{kind}_value": PARSE_BY_TYPE[kind](texts[0])})
    except (ValueError, OverflowError):
        raise Unreadable(f"has a {name} that is no {kind}") from None


def _integer(text: str) -> int:
    value = int(text)
    if not MIN_INTEGER <= value <= MAX_INTEGER:
        raise ValueError("more than 64 bits")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text.lower() == "true"


def _time(text: str) -> datetime:
    """ISO 8601. Without an offset it is UTC."""
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


PARSE_BY_TYPE: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _time,
}
