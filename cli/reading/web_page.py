"""HTML: the main text without navigation, banners and footers."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import trafilatura
from lxml import etree  # type: ignore[import-untyped]

from cli.reading.cleaning import clean
from cli.reading.decoding import decode
from cli.reading.limits import require_characters
from cli.reading.parsed import HeadingPath, Parsed, PartsBuilder, Unreadable

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE)
_HEAD_BYTES = 4_096
MIN_MAIN_CHARACTERS = 200
"""Letters and digits. Where less is found, navigation cannot be told from text by its looks."""
_UNSEEN = ("script", "style", "noscript", "template")
_NAVIGATION = ("nav", "header", "footer", "aside", "form", "title")
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "mark", "q", "s"),
    *("samp", "small", "span", "strong", "sub", "sup", "tt", "u", "var"),
}
_BLOCKS = {"p", "quote", "code", "list", "table", "item", "row", "head", "div", "formula"}


def parse_web_page(content: bytes) -> Parsed:
    """Sections under the headings of the main text. The title is its one heading of level 1, else the page's.

    `boilerplate_characters` counts letters and digits that are visible and not main text. Ranges count in the main
    text as it is put together. Raises Unreadable.
    """
    tree = trafilatura.load_html(_decoded(content))
    if tree is None:
        raise Unreadable("holds no text")
    title = " ".join("".join(tree.xpath("(//head//title)[1]//text()")).split())
    num_visible = _num_visible(tree)
    sections = _Sections()
    for kind, text in _blocks(tree):
        sections.add(kind, text)
    parsed = sections.finish(title)
    num_kept = sections.num_kept
    parsed.dropped["boilerplate_characters"] = max(0, num_visible - num_kept)
    return Parsed(parsed.title, parsed.parts, +parsed.dropped)


class _Sections:
    """Blocks in reading order become sections."""

    def __init__(self) -> None:
        self._builder, self._headings = PartsBuilder(), HeadingPath()
        self._blocks: list[str] = []
        self._first_level: list[str] = []
        self._dropped: Counter[str] = Counter()
        self.num_kept = 0

    def add(self, level: int, text: str) -> None:
        """A block; a heading where `level` is not 0."""
        text, dropped = clean(text)
        self._dropped.update(dropped)
        self.num_kept += _num_inked(text)
        if not level:
            self._blocks.append(text)
            return
        self._close()
        heading = " ".join(text.split())
        self._headings.enter(level, heading)
        if level == 1:
            self._first_level.append(heading)

    def finish(self, title: str) -> Parsed:
        self._close()
        own = self._first_level[0] if len(self._first_level) == 1 else ""
        return Parsed(own or clean(title)[0], self._builder.parts, self._dropped)

    def _close(self) -> None:
        self._builder.add(self._headings.path, "\n\n".join(self._blocks))
        require_characters(self._builder.num_characters)
        self._blocks = []


def _decoded(content: bytes) -> str:
    """As UTF-8 if it is, else as its own head says, else as it looks."""
    declared = _META_CHARSET.search(content[:_HEAD_BYTES])
    names = ["utf-8-sig", *([declared[1].decode("ascii", "replace")] if declared else [])]
    for name in names if b"\0" not in content else []:
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            return content.decode(name)
    return decode(content)[0]


def _num_visible(tree: Any) -> int:
    texts = _body(tree).xpath(f".//text()[not({' or '.join(f'ancestor::{name}' for name in _UNSEEN)})]")
    return sum(map(_num_inked, texts))


def _body(tree: Any) -> Any:
    """The whole where templates and fragments have none."""
    body = tree.find(".//body")
    return tree if body is None else body


def _num_inked(text: str) -> int:
    return sum(map(str.isalnum, text))


def _blocks(tree: Any) -> Iterator[tuple[int, str]]:
    """Level of the heading or 0, and text: of the main text, or of the whole where too little of it is found."""
    page = trafilatura.bare_extraction(tree, fast=True, favor_recall=True, include_comments=False, with_metadata=False)
    blocks = list(_walk(page.body)) if page is not None and not isinstance(page, dict) else []
    if sum(_num_inked(text) for level, text in blocks if not level) >= MIN_MAIN_CHARACTERS:
        yield from blocks
    else:
        yield from _whole(tree)


def _whole(tree: Any) -> Iterator[tuple[int, str]]:
    """Everything visible but what its tags call navigation."""
    etree.strip_elements(tree, *_UNSEEN, *_NAVIGATION, etree.Comment, etree.PI, with_tail=False)
    pieces: list[str] = []
    for event, element in etree.iterwalk(_body(tree), events=("start", "end")):
        is_heading = element.tag in _HEADINGS
        if element.tag not in _INLINE:
            text = "".join(pieces)
            yield int(element.tag[1]) if is_heading and event == "end" else 0, _tidy(text)
            pieces.clear()
        pieces.append((element.text if event == "start" else element.tail) or "")


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _walk(element: Any) -> Iterator[tuple[int, str]]:
    for child in element:
        if not isinstance(child.tag, str):
            continue
        if child.tag == "head":
            yield _level(child), _inline(child)
        elif child.tag == "table":
            yield 0, "\n".join(" | ".join(map(_line, row.iter("cell"))) for row in child.iter("row"))
        elif child.tag == "list":
            yield 0, "\n".join(f"- {_line(entry)}" for entry in child.iter("item"))
        elif child.tag in ("div", "quote") and any(inner.tag in _BLOCKS for inner in child):
            yield 0, child.text or ""
            yield from _walk(child)
        else:
            yield 0, _inline(child)
        if child.tail and child.tail.strip():
            yield 0, child.tail


def _level(heading: Any) -> int:
    digits = heading.get("rend", "")[1:]
    return int(digits) if digits.isdigit() and int(digits) else 2


def _inline(element: Any) -> str:
    """Its words, with a line end for each break."""
    pieces: list[str] = []
    for node in element.iter():
        if node.tag == "lb":
            pieces.append("\n")
        elif isinstance(node.tag, str):
            pieces.append(node.text or "")
        if node is not element:
            pieces.append(node.tail or "")
    return "".join(pieces)


def _line(element: Any) -> str:
    return " ".join(_inline(element).split())
