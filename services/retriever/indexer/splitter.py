"""Cuts documents into passages: by paragraphs, then sentences, then words, never across sections."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from services.retriever.fingerprint import Fingerprint
from services.retriever.passage import Passage, heading_line

PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*\s+|[。！？]+[”’」』）]*\s*|\n\s*""")
BOUNDARIES = (PARAGRAPH_END, SENTENCE_END)
"""Tried in this order on what is still too long."""

MAX_CHARACTERS_PER_TOKEN = 20
"""A passage is bounded in characters too: to some tokenizers a long word of any length is one unknown token."""

ALGORITHM = "paragraphs, sentences, words/1"
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

    @property
    def num_characters(self) -> int:
        return sum(len(section.text) for section in self.sections)


class Span(NamedTuple):
    """Characters `start` to `end` of a section, and how many tokens they are."""

    start: int
    end: int
    tokens: int


class Splitter:
    """Makes passages of at most `max_tokens`, their title and headings included.

    Where title and headings take more than half of it, the text gets half all the same.
    """

    def __init__(self, count_tokens: Callable[[str], int], max_tokens: int) -> None:
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self.fingerprint: Fingerprint = {"algorithm": ALGORITHM, "max_tokens": str(max_tokens)}

    def split(self, document: Document) -> list[Passage]:
        """The document's passages, in reading order. Every character that is not white space is in one. Blocks."""
        cut = ((section, span) for section in document.sections for span in self._spans(document.title, section))
        return [
            Passage(
                passage_id=f"{document.document_id}#{number}",
                document_id=document.document_id,
                title=document.title,
                heading_path=section.heading_path,
                text=section.text[span.start : span.end],
                uri=section.uri or document.uri,
                page=section.page,
                start=section.start + span.start,
                end=section.start + span.end,
            )
            for number, (section, span) in enumerate(cut)
        ]

    def _spans(self, title: str, section: Section) -> Iterator[Span]:
        heading_tokens = self._count_tokens(heading_line(title, section.heading_path))
        max_tokens = max(self._max_tokens // 2, self._max_tokens - heading_tokens)
        text = section.text
        return self._merge(text, self._pieces(text, 0, len(text), max_tokens, BOUNDARIES), max_tokens)

    def _pieces(
        self, text: str, start: int, end: int, max_tokens: int, boundaries: tuple[re.Pattern[str], ...]
    ) -> Iterator[Span]:
        """What fits as it is; what does not, cut at the first of the boundaries, or else in the middle."""
        start, end = _strip(text, start, end)
        if start == end:
            return
        tokens = self._tokens_if_fit(text, start, end, max_tokens)
        if tokens is not None:
            yield Span(start, end, tokens)
            return
        cuts = [start, *(_cuts(text, start, end, boundaries)), end]
        for left, right in pairwise(cuts):
            yield from self._pieces(text, left, right, max_tokens, boundaries[1:])

    def _merge(self, text: str, pieces: Iterator[Span], max_tokens: int) -> Iterator[Span]:
        """Neighbours joined as long as they fit together."""
        waiting: deque[Span] = deque(pieces)
        while waiting:
            group = [waiting.popleft()]
            tokens = group[0].tokens
            while waiting and tokens + waiting[0].tokens <= max_tokens:
                group.append(waiting.popleft())
                tokens += group[-1].tokens
            yield self._longest_fit(text, group, waiting, max_tokens)

    def _longest_fit(self, text: str, group: list[Span], waiting: deque[Span], max_tokens: int) -> Span:
        """The group's parts together may be more tokens than their sum: then its last ones wait for the next."""
        while len(group) > 1:
            start, end = group[0].start, group[-1].end
            tokens = self._tokens_if_fit(text, start, end, max_tokens)
            if tokens is not None:
                return Span(start, end, tokens)
            waiting.appendleft(group.pop())
        return group[0]

    def _tokens_if_fit(self, text: str, start: int, end: int, max_tokens: int) -> int | None:
        if end - start > max_tokens * MAX_CHARACTERS_PER_TOKEN:
            return None
        tokens = self._count_tokens(text[start:end])
        return tokens if tokens <= max_tokens or end - start == 1 else None


def _cuts(text: str, start: int, end: int, boundaries: tuple[re.Pattern[str], ...]) -> list[int]:
    if boundaries:
        return [match.end() for match in boundaries[0].finditer(text, start, end) if match.end() < end]
    return [_middle(text, start, end)]


def _middle(text: str, start: int, end: int) -> int:
    """The white space next to the middle; the middle itself inside one long word."""
    middle = (start + end) // 2
    before = next((cut for cut in range(middle, start, -1) if text[cut].isspace()), None)
    after = next((cut for cut in range(middle, end) if text[cut].isspace()), None)
    near = [cut for cut in (before, after) if cut is not None]
    return min(near, key=lambda cut: abs(cut - middle)) if near else middle


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
