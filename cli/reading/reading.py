"""What reading a file gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trivium.v1 import indexer_pb2


@dataclass(frozen=True)
class Reading:
    """One document out of a file, or why there is none."""

    name: str
    """The path as given, printable. Members of archives as `a.zip/inner.md`; rows of tables share their file's."""
    document: indexer_pb2.Document | None = None
    reason: str = ""
    """Why there is none, as the end of a sentence that begins with the name. Empty with a document."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What cleaning left out or changed, counted by kind."""
    language: str = ""
    """ISO 639-1. Empty when unknown."""
    num_bytes: int = 0
    """Of the file, the member or the row that it was read from."""
    is_last: bool = True
    """No other follows from the same file on disk."""
