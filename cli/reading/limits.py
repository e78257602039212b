"""What one file may hold. The indexer's own limits are in the contract (`trivium/v1/indexer.proto`)."""

from __future__ import annotations

from cli.reading.parsed import Unreadable

MAX_CHARACTERS = 4_000_000
"""Characters in one document; the contract's limit."""
MAX_SECTIONS = 50_000
MAX_TITLE_CHARACTERS = 1_024
MAX_ID_CHARACTERS = 256
MAX_URI_CHARACTERS = 2_048
MAX_HEADINGS = 16
MAX_HEADING_CHARACTERS = 512
MAX_MESSAGE_BYTES = 15 << 20
"""Of a document on its way: below the longest message that an indexer takes by default."""
MAX_TEXT_BYTES = 15 << 20
"""Bytes of a Markdown, plain text or HTML file: they are held whole."""
MAX_LINE_BYTES = 15 << 20
"""Bytes of one line of CSV or JSON Lines. The files themselves are read row by row and have no limit."""
MAX_PDF_BYTES = 256 << 20
MAX_WORD_BYTES = 64 << 20
MAX_WORD_PART_BYTES = 32 << 20
"""Bytes of the unpacked text of a DOCX: as a tree it takes about ten times as much memory."""
MAX_WORD_UNPACKED_BYTES = 192 << 20
MAX_MEMBER_BYTES = 64 << 20
"""Bytes of one file inside an archive: it is held whole."""


def require_bytes(num_bytes: int, max_bytes: int) -> None:
    """Raises Unreadable."""
    if num_bytes > max_bytes:
        raise Unreadable(f"is too large: {num_bytes:,} bytes, at most {max_bytes:,}")


def require_characters(num_characters: int) -> None:
    """Raises Unreadable."""
    if num_characters > MAX_CHARACTERS:
        raise Unreadable(f"is too large: {num_characters:,} characters, at most {MAX_CHARACTERS:,}")


def require_sections(num_sections: int) -> None:
    """Raises Unreadable."""
    if num_sections > MAX_SECTIONS:
        raise Unreadable(f"is too large: {num_sections:,} sections, at most {MAX_SECTIONS:,}")
