"""What a parser makes of a file, before it is a document of the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trivium.v1 import metadata_pb2


class Unreadable(Exception):
    """A file cannot become a document. The text says why, as the end of a sentence that begins with its name."""


@dataclass(frozen=True)
class Part:
    """A section: `text` is exactly what stands at `start` (code points) in the document's text."""

    heading_path: tuple[str, ...]
    text: str
    start: int
    page: int | None = None
    """From 1."""
    uri: str = ""
    """Opens this section, where it differs from the document's."""


@dataclass(frozen=True)
class Parsed:
    """What a parser makes of a file. An empty title means that it has none of its own."""

    title: str
    parts: Sequence[Part]
    dropped: Counter[str] = field(default_factory=Counter)
    """What is not in the parts though the file holds it, by kind."""
    metadata: Mapping[str, metadata_pb2.MetadataValue] = field(default_factory=dict)


class PartsBuilder:
    """Sections of formats whose text is put together, not sliced: one after the other, an empty line between."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.num_characters = 0
        self._end = -2

    def add(self, heading_path: Sequence[str], text: str, page: int | None = None, uri: str = "") -> None:
        """Nothing when `text` is blank. White space around it goes."""
        text = text.strip()
        if text:
            start = self._end + 2
            self.parts.append(Part(tuple(heading_path), text, start, page, uri))
            self.num_characters += len(text)
            self._end = start + len(text)


class HeadingPath:
    """The headings above a place, while a document is read from its start."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, heading: str) -> None:
        """A heading of `level` (1 is the outermost) ends those of its own level and below."""
        self._open = [(outer, text) for outer, text in self._open if outer < level]
        if heading:
            self._open.append((level, heading))

    @property
    def path(self) -> tuple[str, ...]:
        """Outermost first."""
        return tuple(text for _, text in self._open)
