"""Text as sections. Every section is a verbatim slice, so that a citation can point into the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

_LINE_END = re.compile(r"\r\n?|\n")
_FRONT_MATTER = re.compile(r"---[ \t]*(?:\r\n?|\n).*?(?<=[\r\n])(?:---|\.\.\.)[ \t]*(?:\r\n?|\n|\Z)", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark")


@dataclass(frozen=True)
class Part:
    """A section: `text` is exactly what stands at `start` (code points) in the file."""

    heading_path: tuple[str, ...]
    text: str
    start: int


@dataclass(frozen=True)
class Parsed:
    """What a parser makes of a text. An empty title means that it has none of its own."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class _Heading:
    level: int
    text: str
    start: int
    body_start: int


def parse_plain_text(text: str) -> Parsed:
    """One section: everything but the white space around it."""
    return Parsed("", list(_trimmed((), text, 0, len(text))))


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
        parts += _trimmed(path, text, heading.body_start, following.start)
    return Parsed(next((heading.text for heading in headings if heading.level == 1), ""), parts)


PARSER_BY_SUFFIX: dict[str, Callable[[str], Parsed]] = {
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".txt": parse_plain_text,
    ".rst": parse_plain_text,
}
"""One function for each kind of file."""


def _headings(text: str, body: int) -> Iterator[_Heading]:
    tokens = _MARKDOWN.parse(text[body:])
    line_starts = [body, *(match.end() for match in _LINE_END.finditer(text, body)), len(text)]
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            first, after = opening.map
            level = int(opening.tag.removeprefix("h"))
            yield _Heading(level, _plain(inline), line_starts[first], line_starts[min(after, len(line_starts) - 1)])


def _plain(inline: Token) -> str:
    """A heading's words without their markup."""
    words = (" " if token.type == "softbreak" else token.content for token in inline.children or ())
    return " ".join("".join(words).split())


def _trimmed(heading_path: tuple[str, ...], text: str, start: int, end: int) -> Iterator[Part]:
    """The slice without the white space around it; none when nothing is left."""
    stripped = text[start:end].strip()
    if stripped:
        lead = end - start - len(text[start:end].lstrip())
        yield Part(heading_path, stripped, start + lead)
