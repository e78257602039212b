"""Markdown as sections. Every section is a verbatim slice, so that a citation can point into the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt

from cli.reading.limits import MAX_HEADING_CHARACTERS
from cli.reading.parsed import Parsed, Part

_LINE_END = re.compile(r"\r\n?|\n")
_FRONT_MATTER = re.compile(r"---[ \t]*(?:\r\n?|\n).*?(?<=[\r\n])(?:---|\.\.\.)[ \t]*(?:\r\n?|\n|\Z)", re.DOTALL)
_BLOCKS = MarkdownIt("commonmark").disable("inline")
"""Of all words only a heading's are looked into: the rest takes most of the time and of the memory."""
_WORDS = MarkdownIt("commonmark")


@dataclass(frozen=True)
class _Heading:
    level: int
    text: str
    start: int
    body_start: int


def parse_markdown(text: str) -> Parsed:
    """What stands under each heading, without front matter and without the heading lines themselves.

    Headings inside lists, quotes and code do not count. The title is the first heading of level 1.
    """
    matter = _FRONT_MATTER.match(text)
    body = matter.end() if matter else 0
    headings = [_Heading(0, "", body, body), *_headings(text, body)]
    end = _Heading(0, "", len(text), len(text))
    parts: list[Part] = []
    above: list[_Heading] = []
    for heading, following in pairwise([*headings, end]):
        above = [outer for outer in above if outer.level < heading.level] + [heading]
        path = tuple(outer.text for outer in above if outer.text)
        parts += trimmed(path, text, heading.body_start, following.start)
    return Parsed(next((heading.text for heading in headings if heading.level == 1), ""), parts)


def _headings(text: str, body: int) -> Iterator[_Heading]:
    links: dict[str, Any] = {}
    tokens = _BLOCKS.parse(text[body:], links)
    line_starts = [body, *(match.end() for match in _LINE_END.finditer(text, body)), len(text)]
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            first, after = opening.map
            level = int(opening.tag.removeprefix("h"))
            words = _plain(inline.content, links)
            yield _Heading(level, words, line_starts[first], line_starts[min(after, len(line_starts) - 1)])


def _plain(heading: str, links: dict[str, Any]) -> str:
    """A heading's words without their markup. `links` are the document's, which the heading may refer to."""
    if len(heading) > MAX_HEADING_CHARACTERS:
        return " ".join(heading[:MAX_HEADING_CHARACTERS].split())
    (inline,) = _WORDS.parseInline(heading, links)
    words = (" " if token.type == "softbreak" else token.content for token in inline.children or ())
    return " ".join("".join(words).split())


def trimmed(heading_path: tuple[str, ...], text: str, start: int, end: int) -> Iterator[Part]:
    """The slice without the white space around it; none when nothing is left."""
    stripped = text[start:end].strip()
    if stripped:
        lead = end - start - len(text[start:end].lstrip())
        yield Part(heading_path, stripped, start + lead)
