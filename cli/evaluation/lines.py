"""Files of one record a line: read with the place at hand, so that what is wrong can be found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.evaluation.failure import EvaluationFailed, Malformed


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object, and where it stands."""

    file: str
    line: int
    values: dict[str, Any]
    prefix: str = ""
    line_by_id: dict[str, int] = field(default_factory=dict)
    """Ids of this file so far."""

    def malformed(self, name: str, description: str) -> Malformed:
        """The error to raise about a field."""
        return Malformed(self.file, self.line, self.prefix + name, description)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be there. Raises Malformed."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise self.malformed(name, "is missing")
        if not isinstance(value, str):
            raise self.malformed(name, f"must be a string, got {_kind(value)}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.malformed(name, "holds half of a surrogate pair") from None
        return value

    def new_id(self, name: str) -> str:
        """A string that no earlier line of the file has. Raises Malformed."""
        value = self.text(name)
        if not value:
            raise self.malformed(name, "must not be empty")
        if (earlier := self.line_by_id.setdefault(value, self.line)) != self.line:
            raise self.malformed(name, f"{value!r} is also line {earlier:,}'s")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings that are not blank; none when it is missing. Raises Malformed."""
        value = self.values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
            raise self.malformed(name, "must be a list of strings that are not blank")
        return tuple(value)

    def flag(self, name: str) -> bool:
        """true or false; false when it is missing. Raises Malformed."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise self.malformed(name, f"must be true or false, got {_kind(value)}")
        return value

    def object(self, name: str) -> Fields:
        """An object's fields; none when it is missing or null. Raises Malformed."""
        value = self.values.get(name)
        if not isinstance(value, dict | None):
            raise self.malformed(name, f"must be an object, got {_kind(value)}")
        return Fields(self.file, self.line, value or {}, f"{self.prefix}{name}.")


def read_fields(path: Path) -> Iterator[Fields]:
    """The objects of a JSON Lines file; blank lines are none. Raises Malformed."""
    line_by_id: dict[str, int] = {}
    for number, text in read_lines(path):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Malformed(str(path), number, "", f"is not JSON ({error})") from None
        if not isinstance(values, dict):
            raise Malformed(str(path), number, "", f"must be a JSON object, got {_kind(values)}")
        yield Fields(str(path), number, values, line_by_id=line_by_id)


def read_rows(path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of a file of tab-separated values that begins with `header`. Raises Malformed."""
    lines = read_lines(path)
    number, first = next(lines, (1, ""))
    if first.split("\t") != list(header):
        expected = " ".join(header)
        raise Malformed(str(path), number, "", f"the first line must be the header, {expected}, separated by tabs")
    for number, text in lines:
        cells = text.split("\t")
        if len(cells) != len(header):
            raise Malformed(str(path), number, "", f"must have {len(header)} fields between tabs, got {len(cells)}")
        for name, cell in zip(header, cells, strict=True):
            if not cell:
                raise Malformed(str(path), number, name, "must not be empty")
        yield number, cells


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank. Raises Malformed where it is not UTF-8."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                except UnicodeDecodeError as error:
                    raise Malformed(str(path), number, "", f"is not UTF-8 (byte {error.start:,})") from None
                if text.strip():
                    yield number, text
    except OSError as error:
        raise EvaluationFailed(f"{path}: cannot be read ({error.strerror})") from error


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
