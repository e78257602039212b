"""The metadata of a version's passages, a column for each field. A row is a passage's number in its version.

A column is its values, each with the row that has it, in order of rows: no value where there is none, several of one
row where the field is a set. Strings are codes: their places in a sorted dictionary.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.retriever.manifest import UnreadableIndex
from services.retriever.metadata import (
    Fields,
    FieldType,
    Value,
    declared_from_json,
    declared_to_json,
    ordinal,
)
from services.retriever.passage import Passage

Rows = NDArray[np.bool_]
Comparison = Callable[[NDArray[Any], int | float], Rows]
"""One of numpy's: `np.less` and its like."""

FIELDS_FILE = "fields.json"
DTYPE_BY_TYPE: Mapping[FieldType, str] = {
    FieldType.STRING: "<i4",
    FieldType.STRINGS: "<i4",
    FieldType.INTEGER: "<i8",
    FieldType.NUMBER: "<f8",
    FieldType.BOOLEAN: "|b1",
    FieldType.TIME: "<i8",
}
"""Of a column's values. Times are microseconds since 1970."""


class MetadataColumns(Protocol):
    """Tell which passages have which metadata. A row is a passage's number."""

    @property
    def fields(self) -> Fields:
        """Those that a filter may name."""

    def holding(self, field: str, values: Sequence[Value]) -> Rows:
        """The rows that have one of these values, which are of the field's type."""

    def comparing(self, field: str, comparisons: Sequence[tuple[Comparison, Value]]) -> Rows:
        """The rows of which all comparisons are true. The field's type has an order."""


@dataclass(frozen=True)
class Dictionary:
    """Strings, sorted by their UTF-8 bytes, one after the other. Held like this they may lie on disk."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[str]) -> Dictionary:
        """Of strings in that order, each once."""
        encoded = [text.encode() for text in strings]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def code_of(self, text: str) -> int | None:
        """Its place; None when it is not there."""
        wanted = text.encode()
        code = bisect_left(range(len(self)), wanted, key=self._at)
        return code if code < len(self) and self._at(code) == wanted else None

    def _at(self, code: int) -> bytes:
        start = self.ends[code - 1] if code else 0
        return self.text[start : self.ends[code]].tobytes()


@dataclass(frozen=True)
class Column:
    """`values[n]` is one of row `rows[n]`."""

    rows: NDArray[np.int32]
    values: NDArray[Any]
    dictionary: Dictionary | None = None
    """Of strings."""

    def codes(self, values: Iterable[Value]) -> Iterator[int | float]:
        """The values as the column holds them; those that it has nowhere are left out."""
        for value in values:
            if not isinstance(value, str):
                yield ordinal(value)
            elif self.dictionary is not None and (code := self.dictionary.code_of(value)) is not None:
                yield code


class Columns:
    """Of any number of passages. Reading is safe from several threads at once."""

    def __init__(self, num_passages: int, fields: Fields, column_by_name: Mapping[str, Column]) -> None:
        self.num_passages = num_passages
        self.fields = fields
        self._column_by_name = column_by_name

    @classmethod
    def of(cls, passages: Iterable[Passage], fields: Fields) -> Columns:
        """Those of passages in memory, whose rows are their numbers from 0."""
        gathered = ColumnsBuilder(fields)
        for passage in passages:
            gathered.add(passage)
        return gathered.build()

    @classmethod
    def open(cls, directory: Path, num_passages: int) -> Columns:
        """Those of a version, mapped from files that have been verified; no fields without the directory.

        Raises UnreadableIndex.
        """
        if not directory.is_dir():
            return cls(num_passages, {}, {})
        try:
            described = json.loads((directory / FIELDS_FILE).read_bytes())
            fields = declared_from_json(described["fields"])
            columns = {name: _open(directory, number, fields[name]) for number, name in enumerate(sorted(fields))}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UnreadableIndex(f"{directory.name}: cannot be read") from error
        if described["num_passages"] != num_passages:
            raise UnreadableIndex(f"{directory.name}: of {described['num_passages']} passages, not the manifest's")
        return cls(num_passages, fields, columns)

    def write(self, directory: Path) -> None:
        """Into a new directory; without fields there is none. Raises OSError."""
        if not self.fields:
            return
        directory.mkdir(parents=True)
        described = {"num_passages": self.num_passages, "fields": declared_to_json(self.fields)}
        (directory / FIELDS_FILE).write_text(json.dumps(described))
        for number, name in enumerate(sorted(self.fields)):
            for part, array in _arrays(self._column_by_name[name]).items():
                np.save(_file(directory, number, part), array, allow_pickle=False)

    def holding(self, field: str, values: Sequence[Value]) -> Rows:
        """The rows that have one of these values, which are of the field's type."""
        column = self._column_by_name[field]
        wanted = np.array(list(column.codes(values)), dtype=column.values.dtype)
        return self._rows(column, column.values == wanted[0] if len(wanted) == 1 else np.isin(column.values, wanted))

    def comparing(self, field: str, comparisons: Sequence[tuple[Comparison, Value]]) -> Rows:
        """The rows of which all comparisons are true. The field's type has an order."""
        column = self._column_by_name[field]
        matches = np.ones(len(column.values), dtype=np.bool_)
        for compare, value in comparisons:
            matches &= compare(column.values, ordinal(value))
        return self._rows(column, matches)

    def _rows(self, column: Column, matches: Rows) -> Rows:
        rows = np.zeros(self.num_passages, dtype=np.bool_)
        rows[column.rows[matches]] = True
        return rows


class ColumnsBuilder:
    """Gathers the metadata of passages, one row after the other."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._num_passages = 0
        self._gathered: dict[str, tuple[list[int], list[Any]]] = {name: ([], []) for name in fields}

    def noting(self, passages: Iterable[Passage]) -> Iterator[Passage]:
        """The same passages; each is added as it goes by."""
        for passage in passages:
            self.add(passage)
            yield passage

    def add(self, passage: Passage) -> None:
        """The next row's. What is of no declared field is left out."""
        for name, value in passage.metadata.items():
            if name in self._gathered:
                rows, values = self._gathered[name]
                members = value if isinstance(value, tuple) else (value,)
                rows.extend([self._num_passages] * len(members))
                values.extend(members)
        self._num_passages += 1

    def build(self) -> Columns:
        columns = {name: _column(self._fields[name], *gathered) for name, gathered in self._gathered.items()}
        return Columns(self._num_passages, self._fields, columns)


def _column(field_type: FieldType, rows: Sequence[int], values: Sequence[Any]) -> Column:
    found, dtype = np.array(rows, dtype="<i4"), DTYPE_BY_TYPE[field_type]
    if field_type.compared_with is not FieldType.STRING:
        return Column(found, np.array([ordinal(value) for value in values], dtype=dtype))
    strings = sorted(set(values), key=str.encode)
    code_by_string = {string: code for code, string in enumerate(strings)}
    return Column(found, np.array([code_by_string[value] for value in values], dtype=dtype), Dictionary.of(strings))


def _arrays(column: Column) -> dict[str, NDArray[Any]]:
    arrays = {"rows": column.rows, "values": column.values}
    return arrays if column.dictionary is None else {**arrays, **vars(column.dictionary)}


def _open(directory: Path, number: int, field_type: FieldType) -> Column:
    rows, values = _map(directory, number, "rows", "<i4"), _map(directory, number, "values", DTYPE_BY_TYPE[field_type])
    if len(rows) != len(values):
        raise ValueError("a column without a row for each value")
    if field_type.compared_with is not FieldType.STRING:
        return Column(rows, values)
    dictionary = Dictionary(_map(directory, number, "text", "|u1"), _map(directory, number, "ends", "<i8"))
    return Column(rows, values, dictionary)


def _map(directory: Path, number: int, part: str, dtype: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(_file(directory, number, part), mmap_mode="r", allow_pickle=False)
    if array.dtype != np.dtype(dtype) or array.ndim != 1:
        raise ValueError(f"{array.dtype} of {array.ndim} dimensions")
    return np.asarray(array)  # mapped all the same, and sliced in a tenth of the time


def _file(directory: Path, number: int, part: str) -> Path:
    """Columns are numbered in order of name: what users call their fields is no file name."""
    return directory / f"{number:02d}.{part}.npy"
