"""The passages of an index that exists, one a row: JSON Lines, or the folder that `datasets` saves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from cli.bulk.failure import BulkFailed
from cli.reading.records import json_records

ID_FIELDS, TITLE_FIELDS = ("id", "_id"), ("title",)
TEXT_FIELDS, URI_FIELDS = ("text", "contents", "content", "body"), ("uri", "url")


@dataclass(frozen=True)
class Fields:
    """Names of fields. Empty: the first of the usual ones that a row has."""

    id: str = ""
    title: str = ""
    text: str = ""
    uri: str = ""


@dataclass(frozen=True)
class Row:
    """One passage, verbatim: its vector was made of this text."""

    number: int
    """From 0: the vector's row."""
    document_id: str
    title: str
    text: str
    uri: str
    is_numbered: bool
    """Its id is its number: it has none of its own."""


def read_rows(path: Path, fields: Fields) -> Iterator[Row]:
    """Every passage, in order, in bounded memory. Raises BulkFailed."""
    records = _arrow_records(path, fields) if path.is_dir() else _json_records(path)
    for number, values in enumerate(records):
        yield _row(path, number, values, fields)


def by_document(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows of one id that follow each other are one document."""
    for _, group in groupby(rows, lambda row: row.document_id):
        yield list(group)


def _row(path: Path, number: int, values: Mapping[str, Any], fields: Fields) -> Row:
    text = _value(path, number, values, fields.text, TEXT_FIELDS)
    if text is None:
        raise _unreadable(
            path, f"row {number:,} has none of the fields {', '.join(TEXT_FIELDS)}; name it with an option"
        )
    own_id = _value(path, number, values, fields.id, ID_FIELDS)
    return Row(
        number=number,
        document_id=own_id or f"{path.name}#{number}",
        title=_value(path, number, values, fields.title, TITLE_FIELDS) or "",
        text=text,
        uri=_value(path, number, values, fields.uri, URI_FIELDS) or "",
        is_numbered=not own_id,
    )


def _value(path: Path, number: int, values: Mapping[str, Any], name: str, usual: Iterable[str]) -> str | None:
    if name and name not in values:
        raise _unreadable(path, f"row {number:,} has no field {name!r}")
    value = values.get(name or next((one for one in usual if one in values), ""))
    if value is None:
        return None
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _unreadable(path, f"row {number:,} holds half of a surrogate pair, which is no text")
    return text


def _json_records(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as file:
            for record in json_records(file):
                if record.values is None:
                    raise _unreadable(path, record.reason)
                yield record.values
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from error


def _arrow_records(folder: Path, fields: Fields) -> Iterator[Mapping[str, Any]]:
    """The columns that are needed, of what `Dataset.save_to_disk` wrote."""
    try:
        import pyarrow
    except ImportError:
        raise BulkFailed("PYARROW_MISSING", "reading a datasets folder needs pyarrow, which is not installed") from None
    named = {fields.id, fields.title, fields.text, fields.uri, *ID_FIELDS, *TITLE_FIELDS, *TEXT_FIELDS, *URI_FIELDS}
    try:
        for name in _arrow_files(folder):
            with pyarrow.memory_map(str(folder / name)) as source, pyarrow.ipc.open_stream(source) as stream:
                columns = [column for column in stream.schema.names if column in named]
                for batch in stream:
                    yield from batch.select(columns).to_pylist()
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise _unreadable(folder, str(error) or type(error).__name__) from error


def _arrow_files(folder: Path) -> list[str]:
    state = json.loads((folder / "state.json").read_bytes())
    if state.get("_indices_files"):
        raise ValueError("its rows are selected or reordered by an indices file: save it after flatten_indices()")
    names = [str(one["filename"]) for one in state["_data_files"]]
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"{outside[0]}: a file outside the folder")
    return names


def _unreadable(path: Path, reason: str) -> BulkFailed:
    return BulkFailed("PASSAGES_UNREADABLE", f"{path}: {reason}")
