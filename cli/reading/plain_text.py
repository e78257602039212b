"""Plain text: one section."""

from __future__ import annotations

from cli.reading.markdown import trimmed
from cli.reading.parsed import Parsed


def parse_plain_text(text: str) -> Parsed:
    """One section: everything but the white space around it."""
    return Parsed("", list(trimmed((), text, 0, len(text))))
