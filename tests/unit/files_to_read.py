"""Files of every format, made for a test, and what reading them gives."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import docx
from reportlab.lib.pagesizes import A4  # type: ignore[import-untyped]
from reportlab.lib.pdfencrypt import StandardEncryption  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from cli.reading.files import read_file
from cli.reading.folders import Source
from cli.reading.options import ReadOptions
from cli.reading.reading import Reading
from trivium.v1 import indexer_pb2


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def readings_of(path: Path, options: ReadOptions | None = None) -> list[Reading]:
    """Read in this process."""
    return list(read_file(Source(path, path.name), options or ReadOptions()))


def reading_of(folder: Path, name: str, content: bytes | str) -> Reading:
    """The one reading that a file of this content gives."""
    (reading,) = readings_of(write(folder, name, content))
    return reading


def document_of(reading: Reading) -> indexer_pb2.Document:
    assert reading.document, reading.reason
    return reading.document


def texts_of(document: indexer_pb2.Document) -> list[str]:
    return [section.text for section in document.sections]


def pdf(pages: Sequence[Sequence[str]], title: str = "", password: str = "", bookmarks: str = "") -> bytes:
    """One line below the other. `bookmarks`: one letter per page, `1` or `2` for a level, anything else for none."""
    content = io.BytesIO()
    encryption = StandardEncryption(password, strength=128) if password else None
    canvas = Canvas(content, pagesize=A4, encrypt=encryption, invariant=1)
    if title:
        canvas.setTitle(title)
    for number, lines in enumerate(pages, start=1):
        level = bookmarks[number - 1 : number]
        if level.isdigit():
            canvas.bookmarkPage(f"page {number}")
            canvas.addOutlineEntry(f"Heading {number}", f"page {number}", int(level) - 1)
        text = canvas.beginText(72, 780)
        for line in lines:
            text.textLine(line)
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return content.getvalue()


def word(*paragraphs: tuple[str, str], rows: Sequence[Sequence[str]] = ()) -> bytes:
    """(style, text) each, and a table at the end."""
    document = docx.Document()
    for style, text in paragraphs:
        document.add_paragraph(text, style=style)
    if rows:
        table = document.add_table(len(rows), len(rows[0]))
        for row, values in zip(table.rows, rows, strict=True):
            for cell, value in zip(row.cells, values, strict=True):
                cell.text = value
    content = io.BytesIO()
    document.save(content)
    return content.getvalue()
