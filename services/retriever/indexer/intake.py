"""Documents as they arrive on the wire: checked, and made what the splitter takes."""

from __future__ import annotations

import hashlib

from services.retriever.indexer.splitter import Document, Section
from trivium.v1 import indexer_pb2

MAX_ID_CHARACTERS = 256
MAX_TITLE_CHARACTERS = 1_024
MAX_URI_CHARACTERS = 2_048
MAX_HEADINGS = 16
MAX_CHARACTERS = 4_000_000


class Rejected(Exception):
    """A document cannot be stored. `field` is at fault, in proto names; empty when none is."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(description)
        self.field, self.description = field, description


def read_document(request: indexer_pb2.UpsertDocumentsRequest) -> Document:
    """The document of a request. Raises Rejected."""
    if not request.HasField("document"):
        raise Rejected("document", "must be set")
    document = request.document
    _require_length("document.document_id", document.document_id, MAX_ID_CHARACTERS)
    if not document.document_id:
        raise Rejected("document.document_id", "must not be empty")
    _require_length("document.title", document.title, MAX_TITLE_CHARACTERS)
    _require_length("document.uri", document.uri, MAX_URI_CHARACTERS)
    return Document(
        document_id=document.document_id,
        title=document.title,
        uri=document.uri,
        sections=_sections(document),
        content_hash=hashlib.sha256(document.SerializeToString(deterministic=True)).hexdigest(),
    )


def _sections(document: indexer_pb2.Document) -> tuple[Section, ...]:
    if not document.sections:
        raise Rejected("document.sections", "at least one")
    if sum(len(section.text) for section in document.sections) > MAX_CHARACTERS:
        raise Rejected("document.sections", f"at most {MAX_CHARACTERS:,} characters together")
    sections: list[Section] = []
    start = 0
    for number, section in enumerate(document.sections):
        field = f"document.sections[{number}]"
        if section.HasField("range"):
            _require_range(field, section)
            start = section.range.start
        sections.append(_section(field, section, start))
        start += len(section.text)
    if not any(section.text.strip() for section in sections):
        raise Rejected("document.sections", "hold nothing but white space")
    return tuple(sections)


def _section(field: str, section: indexer_pb2.Section, start: int) -> Section:
    if not section.text:
        raise Rejected(f"{field}.text", "must not be empty")
    if len(section.heading_path) > MAX_HEADINGS:
        raise Rejected(f"{field}.heading_path", f"at most {MAX_HEADINGS} headings")
    if section.HasField("page") and section.page == 0:
        raise Rejected(f"{field}.page", "1 is the first page")
    _require_length(f"{field}.uri", section.uri, MAX_URI_CHARACTERS)
    page = section.page if section.HasField("page") else None
    return Section(tuple(section.heading_path), section.text, start, page, section.uri)


def _require_range(field: str, section: indexer_pb2.Section) -> None:
    if section.range.end - section.range.start != len(section.text):
        raise Rejected(
            f"{field}.range",
            f"{section.range.end - section.range.start:,} characters, but the text has {len(section.text):,}",
        )


def _require_length(field: str, text: str, max_characters: int) -> None:
    if len(text) > max_characters:
        raise Rejected(field, f"at most {max_characters:,} characters, got {len(text):,}")
