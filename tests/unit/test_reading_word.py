"""DOCX becomes sections under its headings, with tables as rows."""

import io
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from tests.unit.files_to_read import document_of, reading_of, texts_of, word

MANUAL = word(
    ("Title", "The manual"),
    ("Normal", "Before any heading."),
    ("Heading 1", "Installing"),
    ("Normal", "Unpack it."),
    ("List Bullet", "Turn it on."),
    ("Heading 2", "Values"),
    rows=[["name", "value"], ["weight", "3 kg"]],
)


def test_headings_open_sections_and_tables_are_rows(tmp_path: Path) -> None:
    document = document_of(reading_of(tmp_path, "a.docx", MANUAL))
    assert document.title == "The manual"
    assert [(list(section.heading_path), section.text) for section in document.sections] == [
        ([], "Before any heading."),
        (["Installing"], "Unpack it.\nTurn it on."),
        (["Installing", "Values"], "name | value\nweight | 3 kg"),
    ]
    assert [section.range.start for section in document.sections] == [0, 21, 45]


def test_without_a_title_the_first_heading_is_one(tmp_path: Path) -> None:
    content = word(("Heading 2", "Only heading"), ("Normal", "words"))
    assert document_of(reading_of(tmp_path, "a.docx", content)).title == "Only heading"


def test_tracked_insertions_are_read_and_deletions_are_not(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("kept ")
    for tag, text in (("ins", "<w:t>new</w:t>"), ("del", "<w:delText>old</w:delText>")):
        paragraph._p.append(parse_xml(f'<w:{tag} {nsdecls("w")} w:id="1"><w:r>{text}</w:r></w:{tag}>'))
    control = f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    document.element.body.insert(0, parse_xml(control))
    content = io.BytesIO()
    document.save(content)
    reading = reading_of(tmp_path, "a.docx", content.getvalue())
    assert texts_of(document_of(reading)) == ["a control\nkept new"]


def bomb() -> bytes:
    """A few hundred kilobytes that unpack to 200 MB."""
    content = io.BytesIO(MANUAL)
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("word/more.xml", "w") as part:
        for _ in range(200):
            part.write(b" " * 1_000_000)
    return content.getvalue()


def other_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.md", "words")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(MANUAL[:4_000], "is a damaged DOCX: ", id="truncated"),
        pytest.param(bomb(), "unpacks to 200,", id="bomb"),
        pytest.param(other_zip(), "is no DOCX, but some other zip archive", id="other-zip"),
        pytest.param(word(), "holds no text", id="empty"),
        pytest.param(b"words", "is no DOCX, though its name says so", id="text"),
    ],
)
def test_a_broken_docx_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reading_of(tmp_path, "a.docx", content).reason.startswith(reason)
