"""What pages do to a text, undone: lines that every page repeats, and words broken at the end of a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

EDGE_LINES = 2
"""Lines at either end of a page among which running headers and footers are looked for."""
MIN_REPEATS = 3
MIN_SHARE = 0.25
"""Of the pages on which an edge line must stand to be a running one: left and right pages, long chapters."""
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_BREAK = "\x02\ufffe"
"""What PDFium writes in place of a hyphen and the line end behind it."""
_BROKEN_WORD = re.compile(f"([^\\W\\d_]+)(?:[{_BREAK}]\n?|[-\u00ad\u2010][ \\t]*\\n[ \\t]*)(?=([^\\W\\d_]+))")


def without_running_lines(pages: Sequence[str]) -> tuple[list[str], int]:
    """The pages without headers, footers and page numbers, and how many lines that were.

    A line counts as the same whatever its numbers are. Pages that hold nothing else stay as they are.
    """
    lines_of_pages = [page.split("\n") for page in pages]
    edges = [_edge_numbers(lines) for lines in lines_of_pages]
    repeats: Counter[str] = Counter()
    for lines, numbers in zip(lines_of_pages, edges, strict=True):
        repeats.update({_shape(lines[number]) for number in numbers})
    enough = max(MIN_REPEATS, MIN_SHARE * sum(map(bool, edges)))
    num_dropped = 0
    kept_pages: list[str] = []
    for lines, numbers in zip(lines_of_pages, edges, strict=True):
        running = {number for number in numbers if repeats[_shape(lines[number])] >= enough}
        num_dropped += len(running)
        kept_pages.append("\n".join(line for number, line in enumerate(lines) if number not in running))
    if not any(page.strip() for page in kept_pages):
        return list(pages), 0
    return kept_pages, num_dropped


def with_words_mended(pages: Sequence[str]) -> tuple[list[str], int]:
    """Words that were broken at a line's end are whole again, and how many that were.

    The hyphen stays before a capital, and where the word stands with it elsewhere but never without it
    (`well-known`).
    """
    known = set(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", "\n".join(pages).lower()))
    num_mended = 0

    def mended(match: re.Match[str]) -> str:
        nonlocal num_mended
        num_mended += 1
        first, second = match.groups()
        is_known = f"{first}-{second}".lower() in known and (first + second).lower() not in known
        return f"{first}-" if is_known or second[0].isupper() else first

    whole = (_BROKEN_WORD.sub(mended, page) for page in pages)
    return [re.sub(f"[{_BREAK}]\n?", "-", page) for page in whole], num_mended


def _edge_numbers(lines: Sequence[str]) -> set[int]:
    written = [number for number, line in enumerate(lines) if line.strip()]
    return {*written[:EDGE_LINES], *written[-EDGE_LINES:]}


def _shape(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line.lower()).split())
