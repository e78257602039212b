"""What a parser made of a file, as a document of the contract."""

from __future__ import annotations

from dataclasses import dataclass

from cli.reading.limits import (
    MAX_HEADING_CHARACTERS,
    MAX_HEADINGS,
    MAX_ID_CHARACTERS,
    MAX_MESSAGE_BYTES,
    MAX_TITLE_CHARACTERS,
    MAX_URI_CHARACTERS,
    require_bytes,
    require_characters,
    require_sections,
)
from cli.reading.parsed import Parsed, Part, Unreadable
from trivium.v1 import indexer_pb2, passage_pb2


@dataclass(frozen=True)
class Origin:
    """Where a document comes from."""

    name: str
    """The path as given; may hold bytes that are no text, as `os.fsdecode` maps them."""
    document_id: str
    uri: str
    file_name: str
    """The last part of its path: says what kind it claims to be, and is its title when it has none."""

    def inside(self, member: str) -> Origin:
        """A file of that path in this archive."""
        from urllib.parse import quote

        uri = f"{self.uri.partition('#')[0]}#{quote(member)}"
        return Origin(f"{self.name}/{member}", f"{self.document_id}/{member}", uri, member.rpartition("/")[2])

    @property
    def printable_name(self) -> str:
        """With a replacement character for each byte that is no text."""
        return self.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def to_document(origin: Origin, parsed: Parsed) -> indexer_pb2.Document:
    """Headings and titles longer than the contract's limits are cut. Raises Unreadable."""
    if not _is_text(origin.document_id):
        raise Unreadable("its name is not UTF-8")
    if not parsed.parts:
        raise Unreadable("holds no text")
    require_sections(len(parsed.parts))
    require_characters(sum(len(part.text) for part in parsed.parts))
    if len(origin.document_id) > MAX_ID_CHARACTERS:
        raise Unreadable(f"its path is longer than {MAX_ID_CHARACTERS} characters")
    document = indexer_pb2.Document(
        document_id=origin.document_id,
        title=(parsed.title or origin.file_name)[:MAX_TITLE_CHARACTERS],
        uri=_uri(origin.uri),
        sections=[_section(part) for part in parsed.parts],
        metadata=parsed.metadata,
    )
    require_bytes(document.ByteSize(), MAX_MESSAGE_BYTES)
    return document


def _section(part: Part) -> indexer_pb2.Section:
    return indexer_pb2.Section(
        heading_path=[heading[:MAX_HEADING_CHARACTERS] for heading in part.heading_path[:MAX_HEADINGS]],
        text=part.text,
        page=part.page,
        range=passage_pb2.CharacterRange(start=part.start, end=part.start + len(part.text)),
        uri=_uri(part.uri),
    )


def _uri(uri: str) -> str:
    """None rather than a wrong one, when it is too long."""
    return uri if len(uri) <= MAX_URI_CHARACTERS else ""


def _is_text(name: str) -> bool:
    """False for a file name with bytes that are no UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
