"""CSV and JSON Lines: one document per row, read as a stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from cli.reading.cleaning import clean
from cli.reading.documents import Origin
from cli.reading.kinds import Kind
from cli.reading.metadata import metadata_of
from cli.reading.options import ReadOptions
from cli.reading.parsed import Parsed, PartsBuilder, Unreadable
from cli.reading.records import Record, csv_records, json_records

MAX_REFUSED_ROWS = 100
"""After so many one after the other, the file is taken for something else."""
_ID_FIELDS, _TITLE_FIELDS = ("id", "_id"), ("title",)
_TEXT_FIELDS, _URI_FIELDS = ("text", "body", "content"), ("uri", "url")


@dataclass(frozen=True)
class Row:
    """One row as a document, or why it is none."""

    number: int
    """Of the row in CSV (1 is the first after the names), of the line in JSON Lines."""
    origin: Origin
    parsed: Parsed | None
    num_bytes: int
    reason: str = ""


def read_table(origin: Origin, file: BinaryIO, kind: Kind, options: ReadOptions) -> Iterator[Row]:
    """Raises Unreadable when the rest cannot be read; what came before stands."""
    records = csv_records(file, origin.file_name) if kind is Kind.CSV else json_records(file)
    num_refused = 0
    for record in records:
        row = _row(origin, kind, record, options)
        yield row
        num_refused = num_refused + 1 if row.parsed is None else 0
        if num_refused >= MAX_REFUSED_ROWS:
            raise Unreadable(f"holds {num_refused} rows one after the other that cannot be read; the rest is not read")


def _row(origin: Origin, kind: Kind, record: Record, options: ReadOptions) -> Row:
    if record.values is None:
        return Row(record.number, origin, None, record.num_bytes, record.reason)
    try:
        fields = _Fields.of(record.values, options, options.metadata_fields if kind is Kind.CSV else ())
        row_origin = fields.origin(origin, kind, record)
        return Row(record.number, row_origin, fields.parsed(record.values), record.num_bytes)
    except Unreadable as error:
        return Row(record.number, origin, None, record.num_bytes, f"row {record.number:,} {error}")


@dataclass(frozen=True)
class _Fields:
    """Which fields of a row are what. Empty where none is."""

    id: str
    title: str
    uri: str
    texts: tuple[str, ...]
    is_id_whole: bool
    """The document's id is the field's value alone, because an option named the field."""
    values: Mapping[str, Any]
    metadata: Mapping[str, str]
    """Types by name."""

    @classmethod
    def of(cls, values: Mapping[str, Any], options: ReadOptions, columns: Iterable[str]) -> _Fields:
        """Raises Unreadable when an option names a field that the row has not, or it has not all of `columns`."""
        wanted = (options.id_field, options.title_field, options.uri_field, *options.text_fields, *columns)
        missing = [name for name in wanted if name and name not in values]
        if missing:
            raise Unreadable(f"has no field {missing[0]!r}; it has {', '.join(map(repr, list(values)[:20]))}")
        return cls(
            id=options.id_field or _first(values, _ID_FIELDS),
            title=options.title_field or _first(values, _TITLE_FIELDS),
            uri=options.uri_field or _first(values, _URI_FIELDS),
            texts=options.text_fields or tuple(filter(None, [_first(values, _TEXT_FIELDS)])),
            is_id_whole=bool(options.id_field),
            values=values,
            metadata=options.metadata_fields,
        )

    def origin(self, origin: Origin, kind: Kind, record: Record) -> Origin:
        """The row's own. Raises Unreadable when its id is empty though an option asked for it."""
        value = _text_of(self.values[self.id]).strip() if self.id else ""
        if self.is_id_whole and not value:
            raise Unreadable(f"has no {self.id}")
        document_id = value if self.is_id_whole else f"{origin.document_id}#{value or record.number}"
        uri = _text_of(self.values[self.uri]).strip() if self.uri else ""
        place = f"row={record.number}" if kind is Kind.CSV else f"line={record.number}"  # RFC 7111, RFC 5147
        return replace(origin, document_id=clean(document_id)[0], uri=uri or f"{origin.uri.partition('#')[0]}#{place}")

    def parsed(self, values: Mapping[str, Any]) -> Parsed:
        dropped: Counter[str] = Counter()
        builder = PartsBuilder()

        def add(heading_path: Sequence[str], text: str) -> None:
            cleaned, counts = clean(text)
            dropped.update(counts)
            builder.add(heading_path, cleaned)

        title = clean(" ".join(_text_of(values[self.title]).split()))[0] if self.title else ""
        if len(self.texts) == 1:
            add((), _text_of(values[self.texts[0]]))
        elif self.texts:
            for name in self.texts:
                add((clean(name)[0],), _text_of(values[name]))
        else:
            others = [name for name in values if name not in (self.id, self.title, self.uri, *self.metadata)]
            lines = [f"{name}: {text}" for name in others if (text := _text_of(values[name]).strip())]
            add((), "\n".join(lines))
        texts = {name: _texts_of(values[name]) for name in self.metadata if name in values}
        return Parsed(title, builder.parts, dropped, metadata_of(texts, self.metadata))


def _first(values: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((name for name in names if name in values), "")


def _texts_of(value: Any) -> list[str]:
    """Of a list each member's; the text of all else."""
    return [_text_of(one).strip() for one in (value if isinstance(value, list) else [value])]


def _text_of(value: Any) -> str:
    """Strings as they are, lists as lines, nothing for null, all else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(_text_of, value))
    return json.dumps(value, ensure_ascii=False)
