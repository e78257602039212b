"""CSV and JSON Lines become one document per row, read as a stream."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from cli.reading.options import ReadOptions
from cli.reading.reading import Reading
from cli.reading.records import json_records
from tests.unit.files_to_read import document_of, readings_of, write

MAPPED = ReadOptions(id_field="key", title_field="name", text_fields=("question", "answer"), uri_field="link")
CSV = 'key,name,question,answer,link\nk1,One,"Why,\nso?",Because.,https://x.test/1\nk2,Two,Who?,Nobody.,\n'


def read(folder: Path, name: str, content: bytes | str, options: ReadOptions | None = None) -> list[Reading]:
    return readings_of(write(folder, name, content), options)


def reasons(readings: Sequence[Reading]) -> list[str]:
    return [reading.reason for reading in readings if reading.reason]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_fields_are_mapped_by_option(tmp_path: Path, kind: str) -> None:
    rows = [
        {"key": "k1", "name": "One", "question": "Why,\nso?", "answer": "Because.", "link": "https://x.test/1"},
        {"key": "k2", "name": "Two", "question": "Who?", "answer": "Nobody.", "link": ""},
    ]
    content = CSV if kind == "csv" else "\n".join(map(json.dumps, rows))
    readings = read(tmp_path, f"faq.{kind}", content, MAPPED)
    first, second = map(document_of, readings)
    assert (first.document_id, first.title, first.uri) == ("k1", "One", "https://x.test/1")
    assert [(list(section.heading_path), section.text) for section in first.sections] == [
        (["question"], "Why,\nso?"),
        (["answer"], "Because."),
    ]
    assert [(section.range.start, section.range.end) for section in first.sections] == [(0, 8), (10, 18)]
    place = "row=2" if kind == "csv" else "line=2"
    assert (second.document_id, second.uri) == ("k2", f"{(tmp_path / f'faq.{kind}').as_uri()}#{place}")
    assert {reading.name for reading in readings} == {str(tmp_path / f"faq.{kind}")}
    assert [reading.is_last for reading in readings] == [False, True]


def test_usual_names_of_fields_need_no_option(tmp_path: Path) -> None:
    (reading,) = read(tmp_path, "corpus.jsonl", '{"_id": 17, "title": "Bees", "text": "They dance.", "metadata": {}}')
    document = document_of(reading)
    assert (document.document_id, document.title) == ("corpus.jsonl#17", "Bees")
    assert [section.text for section in document.sections] == ["They dance."]


def test_without_a_text_field_every_column_is_text(tmp_path: Path) -> None:
    (reading,) = read(tmp_path, "stock.csv", "title;colour;size;note\nSocks;red;42;\n")
    document = document_of(reading)
    assert (document.document_id, document.title) == ("stock.csv#1", "Socks")
    assert [section.text for section in document.sections] == ["colour: red\nsize: 42"]


def test_values_that_are_no_strings_are_written_out(tmp_path: Path) -> None:
    row = {"text": ["one", None, 2, {"deep": True}]}
    assert document_of(read(tmp_path, "a.jsonl", json.dumps(row))[0]).sections[0].text == 'one\n\n2\n{"deep": true}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,text\n1,Größe\n".encode("utf-8-sig")),
        ("a.csv", "id,text\n1,Größe\n".encode("cp1252")),
        ("a.csv", "id;text\n1;Größe\n".encode("utf-16")),
        ("a.tsv", "id\ttext\n1\tGröße\n".encode()),
        ("a.csv", b"id,text\n" + b"2,ascii\n" * 140_000 + "1,Größe\n".encode("cp1252")),
        ("a.jsonl", '\ufeff{"id": 1, "text": "Größe"}\n\n'.encode()),
    ],
    ids=["mark", "windows", "wide", "tabs", "late", "json"],
)
def test_tables_of_any_encoding_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    assert document_of(read(tmp_path, name, content)[-1]).sections[0].text == "Größe"


def test_a_bad_line_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    lines = ['{"text": "one"}', "{broken", "[1]", '{"text": "\xff"}', '{"text": " "}', "[" * 99_999, '{"text": "two"}']
    readings = read(tmp_path, "a.jsonl", "\n".join(lines).encode("latin-1"))
    assert [document_of(reading).sections[0].text for reading in readings if reading.document] == ["one", "two"]
    assert reasons(readings) == [
        "line 2 is no JSON: Expecting property name enclosed in double quotes",
        "line 3 is no JSON object",
        "line 4 is not UTF-8: byte 10",
        "row 5 holds no text",
        "line 6 is no JSON: RecursionError",
    ]


def test_a_field_that_an_option_names_must_be_there(tmp_path: Path) -> None:
    readings = read(tmp_path, "a.csv", "id,text\n1,words\n", ReadOptions(text_fields=("body",)))
    assert reasons(readings) == ["row 1 has no field 'body'; it has 'id', 'text'"]
    assert reasons(read(tmp_path, "b.csv", "id,text\n,words\n", ReadOptions(id_field="id"))) == ["row 1 has no id"]


def test_a_file_of_nothing_but_bad_lines_is_given_up(tmp_path: Path) -> None:
    readings = read(tmp_path, "a.jsonl", "no\n" * 5_000)
    assert len(readings) == 101
    assert readings[-1].reason == "holds 100 rows one after the other that cannot be read; the rest is not read"


class Endless(io.RawIOBase):
    """50 MB in one line and a short line behind it; remembers how much was asked for at once."""

    def __init__(self) -> None:
        self.rest = 50_000_000
        self.tail = b'\n{"text": "after"}\n'

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        content = b"x" * min(len(buffer), self.rest) or self.tail[: len(buffer)]
        self.rest -= min(len(buffer), self.rest) if self.rest else 0
        if content and content[:1] != b"x":
            self.tail = self.tail[len(content) :]
        buffer[: len(content)] = content
        return len(content)


def test_a_line_of_50_mb_is_refused_and_the_next_is_read() -> None:
    import tracemalloc

    tracemalloc.start()
    records = list(json_records(io.BufferedReader(cast(Any, Endless()))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert records[0].reason == "line 1 is too large: 50,000,001 bytes, at most 15,728,640"
    assert records[1].values == {"text": "after"}
    assert peak < 40_000_000


def test_a_row_of_50_mb_ends_its_table(tmp_path: Path) -> None:
    readings = read(tmp_path, "a.csv", b"id,text\n1,fine\n2," + b"x" * 50_000_000 + b"\n3,fine\n")
    assert [bool(reading.document) for reading in readings] == [True, False]
    assert readings[1].reason.startswith("has a row of more than 15,728,640 characters")


def test_a_quote_that_is_never_closed_ends_its_table(tmp_path: Path) -> None:
    readings = read(tmp_path, "a.csv", b'id,text\n1,fine\n2,"open\n' + b"words\n" * 3_000_000)
    assert [bool(reading.document) for reading in readings] == [True, False]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "holds no text"),
        ("a.csv", b"id,text\n", "holds no rows below the names of its columns"),
        ("a.csv", b"id\0,text\n1,x\n", "is no text: byte 2 is NUL"),
        ("a.jsonl", b"\n\n", "holds no documents"),
    ],
    ids=["empty", "only-names", "binary", "blank"],
)
def test_a_table_without_rows_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    assert reasons(read(tmp_path, name, content)) == [reason]
