"""What kind of file it is: its name claims one, and its first bytes decide."""

from __future__ import annotations

import enum
import zipfile
from typing import BinaryIO

from cli.reading.parsed import Unreadable

HEAD_BYTES = 1_024


class Kind(enum.Enum):
    """Kinds that can be read. The value is what people call it."""

    MARKDOWN = "Markdown"
    PLAIN_TEXT = "plain text"
    HTML = "HTML"
    PDF = "PDF"
    WORD = "DOCX"
    CSV = "CSV"
    JSON_LINES = "JSON Lines"
    ZIP = "zip archive"
    TAR = "tar archive"


KIND_BY_SUFFIX = {
    **dict.fromkeys((".md", ".markdown"), Kind.MARKDOWN),
    **dict.fromkeys((".txt", ".text", ".rst"), Kind.PLAIN_TEXT),
    **dict.fromkeys((".html", ".htm", ".xhtml"), Kind.HTML),
    ".pdf": Kind.PDF,
    ".docx": Kind.WORD,
    **dict.fromkeys((".csv", ".tsv"), Kind.CSV),
    **dict.fromkeys((".jsonl", ".ndjson"), Kind.JSON_LINES),
    ".zip": Kind.ZIP,
    **dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"), Kind.TAR),
}
HARMLESS = {Kind.MARKDOWN, Kind.PLAIN_TEXT}
"""Kinds whose parser cannot crash or hang on a small file."""
_BINARY = {Kind.PDF, Kind.WORD, Kind.ZIP, Kind.TAR}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_FOREIGN = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office file, or one with a password",
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"Rar!\x1a": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x7fELF": "a program",
}


def suffix_of(name: str) -> str:
    """Lower case; `.tar.gz` counts as one. Empty without one."""
    lowered = name.lower()
    compound = [suffix for suffix in KIND_BY_SUFFIX if suffix.count(".") > 1 and lowered.endswith(suffix)]
    dot = lowered.rfind(".")
    return compound[0] if compound else lowered[dot:] if dot > 0 else ""


def kind_of(name: str, file: BinaryIO) -> Kind:
    """What to read a file as. Leaves `file` at its start. Raises Unreadable.

    A PDF or DOCX is read as one whatever its name; HTML is where the name claims a PDF or DOCX, or nothing known.
    An archive is opened only where its name says so. A name without a suffix claims plain text.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    suffix = suffix_of(name)
    claimed = KIND_BY_SUFFIX.get(suffix) if suffix else Kind.PLAIN_TEXT
    if not head:
        raise Unreadable("holds no text" if claimed else _unknown())
    found = _found(head, file, claimed)
    file.seek(0)
    if claimed is None and found is None:
        raise Unreadable(_unknown())
    if claimed in _BINARY and found is None:
        raise Unreadable(f"is no {claimed.value}, though its name says so")
    kind = found or claimed
    assert kind is not None
    return kind


def _found(head: bytes, file: BinaryIO, claimed: Kind | None) -> Kind | None:
    """The kind that the first bytes show; None where they show none. Raises Unreadable for what is never read."""
    if head.startswith(b"%PDF-") or (claimed is Kind.PDF and b"%PDF-" in head):
        return Kind.PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(file, claimed)
    packed = next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar" or (packed and not _is_ascii(head)):
        if claimed is not Kind.TAR:
            raise Unreadable(f"is {f'packed by {packed}' if packed else 'a tar archive'}, which its name does not say")
        return Kind.TAR
    for magic, description in _FOREIGN.items():
        if head.startswith(magic):
            raise Unreadable(f"is {description}")
    if claimed in (None, Kind.PDF, Kind.WORD) and _is_html(head):
        return Kind.HTML
    return None


def _zipped(file: BinaryIO, claimed: Kind | None) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            is_word = "word/document.xml" in archive.NameToInfo
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        what = claimed.value if claimed in (Kind.WORD, Kind.ZIP) else Kind.ZIP.value
        raise Unreadable(f"is a damaged {what}: {error}") from error
    if is_word:
        return Kind.WORD
    if claimed is Kind.WORD:
        raise Unreadable("is no DOCX, but some other zip archive")
    if claimed is not Kind.ZIP:
        raise Unreadable("is a zip archive, which its name does not say")
    return Kind.ZIP


def _is_ascii(head: bytes) -> bool:
    return head.isascii() and b"\0" not in head


def _is_html(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _unknown() -> str:
    return f"is of no known kind; known are {', '.join(KIND_BY_SUFFIX)}"
