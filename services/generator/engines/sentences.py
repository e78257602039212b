"""Where the sentences of a passage stand. Every range is a slice of the text as it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from markdown_it import MarkdownIt

Kind = Literal["prose", "row", "other"]

MAX_CHARACTERS = 600
"""A longer stretch without an end of sentence is cut after a semicolon, else at white space."""

MIN_WORDS = 3
"""Fewer words are no sentence (a run-in heading, `1.`): they belong to the one that follows."""

BOUNDARY = re.compile(
    r"""(?<![.!?…])(?P<mark>[.!?…]++)["'”’»)\]*_`]*+(?P<gap>\s++)   # an end, what closes after it, white space
      | [。！？][”’」』）]*+\s*+                                       # Chinese and Japanese need no space""",
    re.VERBOSE,
)
"""Possessive throughout: a run of marks is tried once, not once for each of its places."""
ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|cf|vs|viz|al|approx|resp|fig|figs|eq|sec|ch|no|nos|vol|pp|dr|mr|mrs|ms|prof|st|[A-Z])$",
    re.IGNORECASE,
)
LEANING = re.compile(
    r"(?:it|its|this|these|those|they|their|them|that|he|she|such|both|neither|but|so|then|thus|hence|however|"
    r"otherwise|therefore|also|instead|here|there)\b",
    re.IGNORECASE,
)
"""How a sentence begins that cannot be understood without the one before it."""

WORD = re.compile(r"\w")

LINE_END = re.compile(r"\r\n?|\n")

# Indented text is text: plain documents indent, and passages may begin in the middle of a list.
markdown = MarkdownIt("commonmark").enable("table").disable("code")


@dataclass(frozen=True)
class Sentence:
    """A slice [start, end) of a passage's text."""

    start: int
    end: int
    kind: Kind
    """Prose, a table's row, or what is seldom an answer: headings, a table's too, and code."""


def split(text: str) -> list[Sentence]:
    """The sentences of a Markdown or plain text, in order. A leaning sentence begins where the one before does.

    There is always one: a text of nothing but marks is one of kind `other`.
    """
    sentences: list[Sentence] = []
    for start, end, kind in _blocks(text):
        ranges = _sentences(text, start, end) if kind == "prose" else _bounded(text, start, end)
        sentences.extend(Sentence(*range_, kind) for range_ in ranges)
    return sentences or [Sentence(*_stripped(text, 0, len(text)), "other")]


def _blocks(text: str) -> Iterator[tuple[int, int, Kind]]:
    lines = _lines(text)
    opened = ""
    for token in markdown.parse(text):
        if token.map is None:
            opened = token.type
            continue
        first, last = token.map[0], token.map[1] - 1
        start, end = lines[first][0], lines[min(last, len(lines) - 1)][1]
        kind: Kind | None = None
        if token.type == "inline" and opened == "paragraph_open":
            # The block's own text begins after its list marker or quotation mark.
            start = max(start, text.find(token.content.split("\n", 1)[0], start, end))
            kind = "prose"
        elif token.type == "tr_open":
            kind = "other" if opened == "thead_open" else "row"
        elif token.type in ("heading_open", "fence", "html_block"):
            kind = "other"
        if kind == "prose":
            yield from _without_rows(text, start, end)
        elif kind and WORD.search(text, start, end):
            yield *_stripped(text, start, end), kind
        opened = token.type


def _without_rows(text: str, start: int, end: int) -> Iterator[tuple[int, int, Kind]]:
    """A paragraph whose lines may be those of a table that began in the passage before, or ends in the next."""
    lines = [(start + first, start + last) for first, last in _lines(text[start:end])]
    for kind, group in itertools.groupby(lines, lambda line: _kind(text[slice(*line)])):
        found = list(group)
        for first, last in found if kind == "row" else [(found[0][0], found[-1][1])]:
            if WORD.search(text, first, last):
                yield *_stripped(text, first, last), kind


def _kind(line: str) -> Kind:
    return "row" if line.lstrip().startswith("|") or line.rstrip().endswith("|") else "prose"


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    slice_ = text[start:end]
    return end - len(slice_.lstrip()), start + len(slice_.rstrip())


def _lines(text: str) -> list[tuple[int, int]]:
    starts, ends = [0], []
    for match in LINE_END.finditer(text):
        ends.append(match.start())
        starts.append(match.end())
    return list(zip(starts, [*ends, len(text)], strict=True))


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    before = None
    for first, last in _joined(text, _cut(text, start, end)):
        leans = before is not None and LEANING.match(text, first)
        yield (before if leans and before is not None else first), last
        before = first


def _joined(text: str, pieces: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Pieces that are too short joined to the one that follows."""
    waiting = None
    for start, end in pieces:
        start = start if waiting is None else waiting
        if len(text[start:end].split()) < MIN_WORDS and text[start:end].isascii():
            waiting = start
        else:
            waiting = None
            yield start, end
    if waiting is not None:
        yield waiting, end


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in BOUNDARY.finditer(text, start, end):
        if match.end() < end and _is_end(text, match):
            yield from _bounded(text, start, match.start() + len(match.group().rstrip()))
            start = match.end()
    yield from _bounded(text, start, end)


def _is_end(text: str, match: re.Match[str]) -> bool:
    if match["mark"] is None:
        return True
    if text[match.start() - 1].isspace():  # "a slipstream . an experimental study": ends stand apart
        return True
    if match["mark"] == "." and ABBREVIATION.search(text, max(0, match.start() - 8), match.start()):
        return False
    return not text[match.end()].islower()


def _bounded(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > MAX_CHARACTERS:
        limit = start + MAX_CHARACTERS
        after_mark = max(text.rfind(mark, start, limit) + len(mark) for mark in ("; ", ";\n", "；"))
        after_space = max(text.rfind(space, start, limit) + 1 for space in " \n")
        cut = next(place for place in (after_mark, after_space, limit) if place > start + 2)
        yield start, start + len(text[start:cut].rstrip())
        start = cut
    if start < end:
        yield start, end
