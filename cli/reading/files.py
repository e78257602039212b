"""One file, read to its end: the documents in it, or why there are none."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from cli.reading import limits
from cli.reading.archives import Budget, read_archive
from cli.reading.cleaning import clean
from cli.reading.decoding import decode
from cli.reading.documents import Origin, to_document
from cli.reading.folders import Source
from cli.reading.kinds import Kind, kind_of
from cli.reading.languages import language_of
from cli.reading.options import ReadOptions
from cli.reading.parsed import Parsed, Unreadable
from cli.reading.reading import Reading
from cli.reading.tables import read_table

_MAX_BYTES = {Kind.PDF: limits.MAX_PDF_BYTES, Kind.WORD: limits.MAX_WORD_BYTES}
TOO_MUCH_MEMORY = "takes more memory to parse than a worker may have"


def read_file(source: Source, options: ReadOptions) -> Iterator[Reading]:
    """At least one reading; the last is marked. Raises nothing that a file could cause."""
    origin = Origin(str(source.path), source.document_id, _file_uri(source.path), source.path.name)
    previous: Reading | None = None
    for reading in _read_path(source, origin, options):
        if previous:
            yield previous
        previous = replace(reading, is_last=False)
    yield replace(previous or _refused(origin, "holds no documents"), is_last=True)


def refusal(source: Source, reason: str) -> Reading:
    """The one reading of a file that was not opened, or whose parser did not survive it."""
    return _refused(Origin(str(source.path), source.document_id, "", source.path.name), reason)


def _read_path(source: Source, origin: Origin, options: ReadOptions) -> Iterator[Reading]:
    if source.reason:
        yield _refused(origin, source.reason)
        return
    try:
        with _opened(source.path) as file:
            yield from _read(origin, file, options, None)
    except Unreadable as error:
        yield _refused(origin, str(error))
    except OSError as error:
        yield _refused(origin, f"cannot be read: {error.strerror or type(error).__name__}")


def _read(origin: Origin, file: BinaryIO, options: ReadOptions, budget: Budget | None) -> Iterator[Reading]:
    """The documents in an open file. `budget` is that of the archive around it."""
    num_bytes = file.seek(0, os.SEEK_END)
    try:
        kind = kind_of(origin.file_name, file)
        if kind in (Kind.ZIP, Kind.TAR):
            inner = budget.deeper() if budget else Budget(options, num_bytes)
            for member in read_archive(file, kind, inner):
                yield from _read_member(origin, member.name, member.file, member.reason, options, inner)
        elif kind in (Kind.CSV, Kind.JSON_LINES):
            yield from _read_rows(origin, file, kind, options)
        else:
            limits.require_bytes(num_bytes, _MAX_BYTES.get(kind, limits.MAX_TEXT_BYTES))
            yield _reading(origin, _parse(kind, file, origin), num_bytes)
    except Unreadable as error:
        yield replace(_refused(origin, str(error)), num_bytes=num_bytes)
    except MemoryError:
        yield replace(_refused(origin, TOO_MUCH_MEMORY), num_bytes=num_bytes)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
        yield replace(_refused(origin, reason), num_bytes=num_bytes)
    except Exception as error:  # of a parser: one file must not end the others
        yield replace(_refused(origin, f"cannot be parsed ({type(error).__name__})"), num_bytes=num_bytes)


def _read_member(
    archive: Origin, name: str, file: BinaryIO | None, reason: str, options: ReadOptions, budget: Budget
) -> Iterator[Reading]:
    origin = archive.inside(name) if name else archive
    if file is None:
        yield _refused(origin, reason)
    else:
        yield from _read(origin, file, options, budget)


def _read_rows(origin: Origin, file: BinaryIO, kind: Kind, options: ReadOptions) -> Iterator[Reading]:
    for row in read_table(origin, file, kind, options):
        if row.parsed is None:
            yield replace(_refused(origin, row.reason), num_bytes=row.num_bytes)
            continue
        try:
            reading = _reading(row.origin, row.parsed, row.num_bytes)
        except Unreadable as error:
            reading = replace(_refused(origin, f"row {row.number:,} {error}"), num_bytes=row.num_bytes)
        yield reading


def _parse(kind: Kind, file: BinaryIO, origin: Origin) -> Parsed:
    """Imports the parser when it is needed: what is never read is never paid for."""
    if kind is Kind.PDF:
        from cli.reading.pdf import parse_pdf

        return parse_pdf(file, origin.uri)
    if kind is Kind.WORD:
        from cli.reading.word import parse_word

        return parse_word(file)
    if kind is Kind.HTML:
        from cli.reading.web_page import parse_web_page

        return parse_web_page(file.read())
    return _parse_text(kind, file.read())


def _parse_text(kind: Kind, content: bytes) -> Parsed:
    text, num_undecodable = decode(content)
    limits.require_characters(len(text))
    text, dropped = clean(text)
    if num_undecodable:
        dropped["undecodable_bytes"] = num_undecodable
    if kind is Kind.MARKDOWN:
        from cli.reading.markdown import parse_markdown

        parsed = parse_markdown(text)
    else:
        from cli.reading.plain_text import parse_plain_text

        parsed = parse_plain_text(text)
    return replace(parsed, dropped=dropped)


def _reading(origin: Origin, parsed: Parsed, num_bytes: int) -> Reading:
    document = to_document(origin, parsed)
    return Reading(
        name=origin.printable_name,
        document=document,
        dropped=dict(parsed.dropped),
        language=language_of("\n".join(section.text for section in document.sections[:20])),
        num_bytes=num_bytes,
    )


def _refused(origin: Origin, reason: str) -> Reading:
    return Reading(name=origin.printable_name, reason=reason)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, opened without waiting for whoever writes to a pipe. Raises Unreadable and OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Unreadable("is not a regular file")
        yield file


def _file_uri(path: Path) -> str:
    return path.absolute().as_uri()  # unresolved: a mounted ConfigMap is symbolic links whose targets change
