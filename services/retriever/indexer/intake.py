"""What a document must be to be stored."""

from __future__ import annotations

from services.retriever.indexer.splitter import Document, Section
from services.retriever.metadata import NO_FIELDS, Fields, InvalidField, require_declared

MAX_ID_CHARACTERS = 256
MAX_POSITION = 2**32 - 1
MAX_TITLE_CHARACTERS = 1_024
MAX_URI_CHARACTERS = 2_048
MAX_HEADINGS = 16
MAX_HEADING_CHARACTERS = 512
"""Every passage repeats its headings in the index."""
MAX_SECTIONS = 50_000
"""A section is at least one passage, and that is a vector."""
MAX_CHARACTERS = 4_000_000


class Rejected(Exception):
    """A document cannot be stored. `field` is at fault, in proto names."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(description)
        self.field, self.description = field, description


def require_valid(document: Document, fields: Fields = NO_FIELDS) -> None:
    """`fields` are the collection's. Raises Rejected."""
    if not document.document_id:
        raise Rejected("document.document_id", "must not be empty")
    _require_length("document.document_id", document.document_id, MAX_ID_CHARACTERS)
    _require_length("document.title", document.title, MAX_TITLE_CHARACTERS)
    _require_length("document.uri", document.uri, MAX_URI_CHARACTERS)
    if not document.sections:
        raise Rejected("document.sections", "at least one")
    if len(document.sections) > MAX_SECTIONS:
        raise Rejected("document.sections", f"at most {MAX_SECTIONS:,}, got {len(document.sections):,}")
    if document.num_characters > MAX_CHARACTERS:
        raise Rejected("document.sections", f"at most {MAX_CHARACTERS:,} characters together")
    try:
        require_declared("document.metadata", document.metadata, fields)
    except InvalidField as fault:
        raise Rejected(fault.field, fault.description) from None
    for number, section in enumerate(document.sections):
        _require_valid_section(f"document.sections[{number}]", section)
    if not any(section.text.strip() for section in document.sections):
        raise Rejected("document.sections", "hold nothing but white space")


def _require_valid_section(field: str, section: Section) -> None:
    if not section.text:
        raise Rejected(f"{field}.text", "must not be empty")
    if section.end > MAX_POSITION:
        raise Rejected(f"{field}.range", f"ends after {MAX_POSITION:,}, the last position that a range can name")
    if section.end - section.start != len(section.text):
        raise Rejected(
            f"{field}.range", f"{section.end - section.start:,} characters, but the text has {len(section.text):,}"
        )
    if len(section.heading_path) > MAX_HEADINGS:
        raise Rejected(f"{field}.heading_path", f"at most {MAX_HEADINGS} headings")
    for number, heading in enumerate(section.heading_path):
        _require_length(f"{field}.heading_path[{number}]", heading, MAX_HEADING_CHARACTERS)
    if section.page == 0:
        raise Rejected(f"{field}.page", "1 is the first page")
    _require_length(f"{field}.uri", section.uri, MAX_URI_CHARACTERS)


def _require_length(field: str, text: str, max_characters: int) -> None:
    if len(text) > max_characters:
        raise Rejected(field, f"at most {max_characters:,} characters, got {len(text):,}")
