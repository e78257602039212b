"""A citable piece of a document, as an index keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from services.retriever import metadata
from services.retriever.metadata import Metadata

PASSAGE_FORMAT = "title > headings, newline, text"
"""Names what `heading_line` and `indexed_text` do. Part of the fingerprint: change it when they change."""


@dataclass(frozen=True)
class Passage:
    """`text` is a verbatim slice of the document: its characters `start` to `end`, in Unicode code points."""

    passage_id: str
    document_id: str
    title: str
    heading_path: tuple[str, ...]
    text: str
    uri: str
    page: int | None
    start: int
    end: int
    metadata: Metadata = field(default_factory=dict, hash=False)
    """The document's."""

    @property
    def heading_line(self) -> str:
        """Title and headings in one line, outermost first. Empty when there are none."""
        return heading_line(self.title, self.heading_path)

    @property
    def indexed_text(self) -> str:
        """What is encoded of the passage: its title and headings, then its text."""
        return indexed_text(self.heading_line, self.text)

    @property
    def searched_text(self) -> str:
        """What BM25 reads: title and headings twice, so that a word in them weighs more than one in the text."""
        return indexed_text(self.heading_line, self.indexed_text)

    def to_json(self) -> bytes:
        """UTF-8."""
        fields: dict[str, Any] = asdict(self)
        fields.pop("metadata")
        if self.metadata:
            fields["metadata"] = metadata.to_json(self.metadata)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Passage:
        """The passage that `to_json` wrote."""
        fields = json.loads(data)
        fields["heading_path"] = tuple(fields["heading_path"])
        fields["metadata"] = metadata.from_json(fields.get("metadata", {}))
        return cls(**fields)


def numbered_id(document_id: str, number: int) -> str:
    """The id of a document's passage. Numbers are from 0, in reading order."""
    return f"{document_id}#{number}"


def place(passage_id: str) -> tuple[str, int] | None:
    """The document's id and the passage's number in it, by which a version's rows are sorted.

    None for what is no passage's id.
    """
    document_id, _, number = passage_id.rpartition("#")
    return (document_id, int(number)) if number.isdecimal() else None


def heading_line(title: str, heading_path: tuple[str, ...]) -> str:
    """`Title > Heading > Heading`. A document whose title is also its first heading says it once."""
    return " > ".join(name for name, _ in groupby(name for name in (title, *heading_path) if name))


def indexed_text(heading: str, text: str) -> str:
    """The one text of a passage for encoders that read one text."""
    return f"{heading}\n{text}" if heading else text
