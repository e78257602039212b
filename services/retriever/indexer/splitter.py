"""Cuts documents into passages: by paragraphs, table rows, sentences, words, never across sections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from services.retriever.fingerprint import Fingerprint
from services.retriever.indexer.tokens import TokenEnds, TokenisedText
from services.retriever.metadata import Value
from services.retriever.passage import Passage, heading_line, numbered_id

PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
TABLE_ROW_END = re.compile(r"(?<=\|)[^\S\n]*\n\s*|\n\s*(?=\|)")
SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*\s+|[。！？]+[”’」』）]*\s*|\n\s*""")
BOUNDARIES = (PARAGRAPH_END, TABLE_ROW_END, SENTENCE_END)
"""Tried in this order on what is still too long."""

MAX_CHARACTERS_PER_TOKEN = 20
"""A passage is bounded in characters too: to some tokenizers a long word of any length is one unknown token."""

MAX_WORD_CHARACTERS = 2_048
"""So far from the middle of a long text white space is looked for."""

ALGORITHM = "paragraphs, table rows, sentences, words/2"
"""Names what this module does. Part of the fingerprint: change it when passages would change."""


@dataclass(frozen=True)
class Section:
    """One structural part, and where its text stands in the document, in code points."""

    heading_path: tuple[str, ...]
    text: str
    start: int
    end: int
    page: int | None
    uri: str


@dataclass(frozen=True)
class Document:
    """One source, to be split. The same content has the same hash."""

    document_id: str
    title: str
    uri: str
    sections: tuple[Section, ...]
    content_hash: str
    metadata: Mapping[str, Value | None] = field(default_factory=dict)
    """None is what was sent and is no value."""

    @property
    def num_characters(self) -> int:
        return sum(len(section.text) for section in self.sections)


class Span(NamedTuple):
    """Characters `start` to `end` of a section."""

    start: int
    end: int

    def to(self, last: Span) -> Span:
        """From its start to the end of a later one."""
        return Span(self.start, last.end)


def passages_of(document: Document, cut: Iterable[tuple[Section, Span]]) -> list[Passage]:
    """The passages that these spans of its sections are, in their order. A span counts from its section's begin."""
    metadata = {name: value for name, value in document.metadata.items() if value is not None}
    return [
        Passage(
            passage_id=numbered_id(document.document_id, number),
            document_id=document.document_id,
            title=document.title,
            heading_path=section.heading_path,
            text=section.text[span.start : span.end],
            uri=section.uri or document.uri,
            page=section.page,
            start=section.start + span.start,
            end=section.start + span.end,
            metadata=metadata,
        )
        for number, (section, span) in enumerate(cut)
    ]


class Splitter:
    """Makes passages of at most `max_tokens`, their title and headings included.

    Where title and headings take more than half of it, the text gets half all the same.
    """

    def __init__(self, token_ends: TokenEnds, max_tokens: int) -> None:
        self._token_ends = token_ends
        self._max_tokens = max_tokens
        self.fingerprint: Fingerprint = {"algorithm": ALGORITHM, "max_tokens": str(max_tokens)}

    def num_tokens(self, passage: Passage) -> int:
        """Of title, headings and text together. Blocks."""
        return len(self._token_ends(passage.heading_line)) + len(self._token_ends(passage.text))

    def split(self, document: Document) -> list[Passage]:
        """The document's passages, in reading order. Every character that is not white space is in one. Blocks."""
        return passages_of(
            document,
            ((section, span) for section in document.sections for span in self._spans(document.title, section)),
        )

    def _spans(self, title: str, section: Section) -> Iterator[Span]:
        heading_tokens = len(self._token_ends(heading_line(title, section.heading_path)))
        max_tokens = max(self._max_tokens // 2, self._max_tokens - heading_tokens)
        text = TokenisedText(section.text, self._token_ends)
        pieces = list(_pieces(text, Span(0, len(section.text)), max_tokens, BOUNDARIES))
        if pieces == [(0, len(section.text))]:
            return iter(pieces)
        return self._merge(text, pieces, max_tokens)

    def _merge(self, text: TokenisedText, pieces: Sequence[Span], max_tokens: int) -> Iterator[Span]:
        """Neighbours joined as long as they fit together."""
        first = 0
        while first < len(pieces):
            after = first + 1
            while after < len(pieces) and _fits(text, pieces[first].to(pieces[after]), max_tokens):
                after += 1
            while after > first + 1 and not self._is_bounded(text, pieces[first].to(pieces[after - 1]), max_tokens):
                after -= 1
            if after > first + 1:
                yield pieces[first].to(pieces[after - 1])
            else:
                yield from self._bounded(text, pieces[first], max_tokens)
            first = after

    def _bounded(self, text: TokenisedText, span: Span, max_tokens: int) -> Iterator[Span]:
        """As it is when it fits, else in halves that do."""
        span = _strip(text.text, span)
        if span.start == span.end:
            return
        if self._is_bounded(text, span, max_tokens):
            yield span
            return
        middle = _middle(text.text, span)
        yield from self._bounded(text, Span(span.start, middle), max_tokens)
        yield from self._bounded(text, Span(middle, span.end), max_tokens)

    def _is_bounded(self, text: TokenisedText, span: Span, max_tokens: int) -> bool:
        """Whether it fits when it is tokenised by itself, as the encoder will. One character always does."""
        if span.end - span.start == 1:
            return True
        return len(self._token_ends(text.text[span.start : span.end])) <= max_tokens


def _pieces(
    text: TokenisedText, span: Span, max_tokens: int, boundaries: tuple[re.Pattern[str], ...]
) -> Iterator[Span]:
    """What fits as it is; what does not, cut at the first boundary that it has, or else in the middle."""
    span = _strip(text.text, span)
    if span.start == span.end:
        return
    if _fits(text, span, max_tokens):
        yield span
        return
    cuts, finer = _cuts(text.text, span, boundaries)
    for start, end in pairwise([span.start, *cuts, span.end]):
        yield from _pieces(text, Span(start, end), max_tokens, finer)


def _fits(text: TokenisedText, span: Span, max_tokens: int) -> bool:
    num_characters = span.end - span.start
    if num_characters > max_tokens * MAX_CHARACTERS_PER_TOKEN:
        return False
    return num_characters == 1 or text.num_tokens(span.start, span.end) <= max_tokens


def _cuts(
    text: str, span: Span, boundaries: tuple[re.Pattern[str], ...]
) -> tuple[list[int], tuple[re.Pattern[str], ...]]:
    """Where to cut it, and the boundaries that are left for its parts."""
    for number, boundary in enumerate(boundaries):
        if cuts := [match.end() for match in boundary.finditer(text, *span) if match.end() < span.end]:
            return cuts, boundaries[number + 1 :]
    return [_middle(text, span)], ()


def _middle(text: str, span: Span) -> int:
    """The white space next to the middle; the middle itself inside one long word."""
    middle = (span.start + span.end) // 2
    first, last = max(span.start, middle - MAX_WORD_CHARACTERS), min(span.end, middle + MAX_WORD_CHARACTERS)
    before = next((cut for cut in range(middle, first, -1) if text[cut].isspace()), None)
    after = next((cut for cut in range(middle, last) if text[cut].isspace()), None)
    near = [cut for cut in (before, after) if cut is not None]
    return min(near, key=lambda cut: abs(cut - middle)) if near else middle


def _strip(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)
