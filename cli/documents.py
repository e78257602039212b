"""Files on disk as documents for the indexer: found, decoded, cut into sections, or refused with a reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cli.parsers import PARSER_BY_SUFFIX, Part
from trivium.v1 import indexer_pb2, passage_pb2

MAX_CHARACTERS = 4_000_000
"""Characters in one document; the contract's limit."""
MAX_BYTES = 15 << 20
"""Bytes in one file: below the longest message that an indexer takes by default."""
MAX_TITLE_CHARACTERS = 1_024
MAX_ID_CHARACTERS = 256
MAX_URI_CHARACTERS = 2_048


class Unreadable(Exception):
    """A file cannot become a document. The text says why."""


@dataclass(frozen=True)
class Source:
    """A file to read and the id its document gets."""

    path: Path
    document_id: str


def find_sources(argument: Path) -> Iterator[Source]:
    """The files that one argument of the command line stands for, in a stable order.

    A file is itself, whatever its suffix. A folder stands for the files of known suffixes below it, without
    those whose path begins with a dot anywhere. Document ids are paths with `/`, from the argument's own last
    name on (`docs/operations.md`): they do not change with the working directory.
    """
    if not argument.is_dir():
        yield Source(argument, argument.resolve().name)
        return
    root = argument.resolve()
    unlisted: list[OSError] = []
    for folder, subfolders, names in os.walk(argument, onerror=unlisted.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in PARSER_BY_SUFFIX:
                yield Source(path, PurePosixPath(root.name, path.relative_to(argument)).as_posix())
    for error in unlisted:
        yield Source(Path(error.filename), str(error.filename))


def read_document(source: Source) -> indexer_pb2.Document:
    """The document in a file. Raises Unreadable."""
    path = source.path
    if not _is_text(source.document_id):
        raise Unreadable("its name is not UTF-8")
    content = _read(path)
    parse = PARSER_BY_SUFFIX.get(path.suffix.lower())
    if parse is None:
        raise Unreadable(f"is of no known kind; known are {', '.join(PARSER_BY_SUFFIX)}")
    parsed = parse(_decode(content))
    if not parsed.parts:
        raise Unreadable("holds no text")
    document = indexer_pb2.Document(
        document_id=source.document_id,
        title=(parsed.title or path.name)[:MAX_TITLE_CHARACTERS],
        uri=path.absolute().as_uri(),  # a mounted ConfigMap is symbolic links whose targets change
        sections=[_section(part) for part in parsed.parts],
    )
    if len(document.document_id) > MAX_ID_CHARACTERS:
        raise Unreadable(f"its path is longer than {MAX_ID_CHARACTERS} characters")
    if len(document.uri) > MAX_URI_CHARACTERS:
        document.uri = ""
    return document


def _is_text(name: str) -> bool:
    """False for a file name with bytes that are no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("cannot be listed" if path.is_dir() else "is not a regular file")
        if status.st_size > MAX_BYTES:
            raise Unreadable(f"is too large: {status.st_size:,} bytes, at most {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error


def _decode(content: bytes) -> str:
    """The text, without its byte order mark. Line ends stay as they are: ranges count them."""
    if b"\0" in content:
        raise Unreadable(f"is no text: byte {content.index(0):,} is NUL")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8: byte {error.start:,} cannot be decoded") from error
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"is too large: {len(text):,} characters, at most {MAX_CHARACTERS:,}")
    return text


def _section(part: Part) -> indexer_pb2.Section:
    return indexer_pb2.Section(
        heading_path=part.heading_path,
        text=part.text,
        range=passage_pb2.CharacterRange(start=part.start, end=part.start + len(part.text)),
    )
