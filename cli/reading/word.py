"""DOCX: paragraphs under their headings, tables as rows."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import docx
from docx.oxml.ns import qn

from cli.reading.cleaning import clean
from cli.reading.limits import MAX_WORD_PART_BYTES, MAX_WORD_UNPACKED_BYTES, require_characters
from cli.reading.parsed import HeadingPath, Parsed, PartsBuilder, Unreadable

_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_TEXT, _TAB, _BREAKS = qn("w:t"), qn("w:tab"), {qn("w:br"), qn("w:cr")}
_DELETED = qn("w:del")
_ALTERNATIVE = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def parse_word(file: BinaryIO) -> Parsed:
    """Sections under the headings (paragraphs styled `Heading 1` to `Heading 9`); a table's rows are lines.

    The title is the paragraph styled `Title`, else the file's own title. Insertions that are tracked count,
    deletions do not. Headers, footers, footnotes and comments are not read. Ranges count in the text as it is put
    together. Raises Unreadable.
    """
    _require_bounded(file)
    file.seek(0)
    try:
        document = docx.Document(file)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Unreadable(f"is a damaged DOCX: {error}") from error
    styles = {style.style_id: style.name or "" for style in document.styles}
    sections = _Sections()
    for block in _blocks(document.element.body):
        if block.tag == _TABLE:
            sections.add_text(_rows(block))
        else:
            sections.add_paragraph(_style(block, styles), _text(block))
    return sections.finish(document.core_properties.title or "")


class _Sections:
    """Paragraphs in reading order become sections."""

    def __init__(self) -> None:
        self._builder, self._headings = PartsBuilder(), HeadingPath()
        self._blocks: list[str] = []
        self._title = ""
        self._first_heading = ""
        self._dropped = clean("")[1]

    def add_paragraph(self, style: str, text: str) -> None:
        heading = _HEADING.match(style)
        if not heading and style != "Title":
            self.add_text(text)
            return
        words = " ".join(clean(text)[0].split())
        if style == "Title":
            self._title = self._title or words
            return
        self._close()
        assert heading is not None
        self._headings.enter(int(heading[1]), words)
        self._first_heading = self._first_heading or words

    def add_text(self, text: str) -> None:
        text, dropped = clean(text)
        self._dropped.update(dropped)
        if text.strip():
            self._blocks.append(text)

    def finish(self, title: str) -> Parsed:
        self._close()
        return Parsed(self._title or clean(title)[0] or self._first_heading, self._builder.parts, self._dropped)

    def _close(self) -> None:
        self._builder.add(self._headings.path, "\n".join(self._blocks))
        require_characters(self._builder.num_characters)
        self._blocks = []


def _require_bounded(file: BinaryIO) -> None:
    """Before anything is unpacked. A size that lies is harmless: no more than it says is ever unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            is_encrypted = any(entry.flag_bits & 1 for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError) as error:
        raise Unreadable(f"is a damaged DOCX: {error}") from error
    if is_encrypted:
        raise Unreadable("is encrypted: it needs a password")
    parts = sum(size for name, size in sizes.items() if name.lower().endswith((".xml", ".rels")))
    for num_bytes, max_bytes in ((parts, MAX_WORD_PART_BYTES), (sum(sizes.values()), MAX_WORD_UNPACKED_BYTES)):
        if num_bytes > max_bytes:
            raise Unreadable(f"unpacks to {num_bytes:,} bytes, at most {max_bytes:,}")


def _blocks(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables in reading order, those inside content controls and insertions too."""
    for child in parent:
        if child.tag in (_PARAGRAPH, _TABLE):
            yield child
        elif isinstance(child.tag, str) and child.tag != _DELETED:
            yield from _blocks(child)


def _style(paragraph: Any, styles: dict[str, str]) -> str:
    return styles.get(paragraph.style or "", "")


def _text(paragraph: Any) -> str:
    """Words, tabs and line breaks, without what a tracked change deleted."""
    pieces: list[str] = []
    for node in paragraph.iter():
        if node.tag == _TEXT and not _is_alternative(node, paragraph):
            pieces.append(node.text or "")
        elif node.tag == _TAB and node.getparent().tag == qn("w:r"):
            pieces.append("\t")
        elif node.tag in _BREAKS:
            pieces.append("\n")
    return "".join(pieces)


def _is_alternative(node: Any, paragraph: Any) -> bool:
    """Inside the copy that a drawing carries for older readers."""
    return any(outer.tag == _ALTERNATIVE for outer in node.iterancestors() if outer is not paragraph)


def _rows(table: Any) -> str:
    rows = (" | ".join(_cell(cell) for cell in row.iter(_CELL)) for row in table.iter(_ROW))
    return "\n".join(row for row in rows if row.strip(" |"))


def _cell(cell: Any) -> str:
    return " ".join(" ".join(_text(paragraph) for paragraph in cell.iter(_PARAGRAPH)).split())
