"""CSV and JSON Lines as records: names and values, one row after the other, in bounded memory."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from cli.reading.decoding import encoding_of
from cli.reading.limits import MAX_LINE_BYTES
from cli.reading.parsed import Unreadable

_DELIMITERS = ",;\t|"
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class Record:
    """One row, or why it is none."""

    number: int
    """Of the row in CSV (1 is the first after the names), of the line in JSON Lines."""
    values: Mapping[str, Any] | None
    num_bytes: int
    reason: str = ""


def json_records(file: BinaryIO) -> Iterator[Record]:
    """The lines that are not blank. One that is no object, or too long, is named and the rest go on."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            num_bytes = len(line) + _skip_line(file)
            reason = f"line {number:,} is too large: {num_bytes:,} bytes, at most {MAX_LINE_BYTES:,}"
            yield Record(number, None, num_bytes, reason)
        elif line.strip(b" \t\r\n\xef\xbb\xbf"):
            yield _json_record(number, line)


def _skip_line(file: BinaryIO) -> int:
    """To the next line, without holding this one. How many bytes that was."""
    num_bytes = 0
    while step := file.readline(1 << 16):
        num_bytes += len(step)
        if step.endswith(b"\n"):
            break
    return num_bytes


def _json_record(number: int, line: bytes) -> Record:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Record(number, None, len(line), f"line {number:,} is not UTF-8: byte {error.start:,}")
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        return Record(number, None, len(line), f"line {number:,} is no JSON: {reason}")
    if not isinstance(values, dict):
        return Record(number, None, len(line), f"line {number:,} is no JSON object")
    return Record(number, values, len(line))


def csv_records(file: BinaryIO, file_name: str) -> Iterator[Record]:
    """The rows below the first, which names the columns. Raises Unreadable where the rest cannot be told apart."""
    text = io.TextIOWrapper(file, _csv_encoding(file), errors="replace", newline="")
    try:
        lines = _Lines(text)
        reader = csv.reader(lines, delimiter=_delimiter(text, file_name))
        csv.field_size_limit(MAX_LINE_BYTES)
        names: list[str] | None = None
        number = 0
        for values in reader:
            num_bytes = lines.take_size()
            if not values:
                continue
            if names is None:
                names = [name.strip() for name in values]
                continue
            number += 1
            yield Record(number, dict(zip(names, values, strict=False)), num_bytes)
        if not number:
            raise Unreadable("holds no rows below the names of its columns" if names else "holds no text")
    except csv.Error as error:
        raise Unreadable(f"is no CSV from row {number + 1:,} on: {error}; the rest is not read") from error
    finally:
        text.detach()


class _Lines:
    """Lines for the reader of rows, none of which it may hold more than a bound of."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._size = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE_BYTES + 1)
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            raise Unreadable(f"has a row of more than {MAX_LINE_BYTES:,} characters; from there on it is not read")
        if not line:
            raise StopIteration
        return line.replace("\0", "")

    def take_size(self) -> int:
        """Characters since it was last asked."""
        size, self._size = self._size, 0
        return size


def _csv_encoding(file: BinaryIO) -> str:
    """By the first mebibyte that is not UTF-8, if there is one. Leaves `file` at its start."""
    encoding = encoding_of(_whole_lines(file.read(_SAMPLE_BYTES)))
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    while encoding == "utf-8" and (step := file.read(_SAMPLE_BYTES)):
        try:
            decoder.decode(step)
        except UnicodeDecodeError:
            encoding = encoding_of(_whole_lines(step))
            break
    file.seek(0)
    return encoding


def _whole_lines(sample: bytes) -> bytes:
    """Without what is cut off at its end."""
    return sample if len(sample) < _SAMPLE_BYTES else sample[: sample.rfind(b"\n") + 1] or sample


def _delimiter(text: io.TextIOWrapper, file_name: str) -> str:
    if file_name.lower().endswith(".tsv"):
        return "\t"
    header = text.readline(_SAMPLE_BYTES)
    text.seek(0)
    return max(_DELIMITERS, key=header.count)
