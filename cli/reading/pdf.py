"""PDF: the text of each page, under the bookmarks that lead to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pypdfium2  # type: ignore[import-untyped]

from cli.reading.cleaning import clean
from cli.reading.limits import MAX_SECTIONS, require_characters, require_sections
from cli.reading.page_text import with_words_mended, without_running_lines
from cli.reading.parsed import HeadingPath, Parsed, PartsBuilder, Unreadable


def parse_pdf(file: BinaryIO, uri: str) -> Parsed:
    """A section for each page with text. Ranges count in the pages' cleaned texts, an empty line between them.

    Counts `running_headers` (lines), `mended_hyphens` and `pages_without_text`. `uri` is the file's; a section's
    opens its page. Raises Unreadable.
    """
    try:
        with pypdfium2.PdfDocument(file) as pdf:
            return _parse(pdf, uri)
    except pypdfium2.PdfiumError as error:
        raise Unreadable(_why(str(error))) from error


def _parse(pdf: pypdfium2.PdfDocument, uri: str) -> Parsed:
    require_sections(len(pdf))
    dropped: Counter[str] = Counter()
    pages = list(_pages(pdf, dropped))
    if not any(page.strip() for page in pages):
        raise Unreadable(f"holds no text: its {len(pages):,} pages are images or empty, and images are not read")
    dropped["pages_without_text"] = sum(not page.strip() for page in pages)
    pages, dropped["running_headers"] = without_running_lines(pages)
    builder = PartsBuilder()
    for number, (text, path) in enumerate(zip(pages, _heading_paths(pdf, len(pages)), strict=True), start=1):
        builder.add(path, text, number, f"{uri}#page={number}" if uri and "#" not in uri else "")
    return Parsed(_title(pdf), builder.parts, +dropped)


def _pages(pdf: pypdfium2.PdfDocument, dropped: Counter[str]) -> Iterator[str]:
    """Cleaned, with whole words."""
    raw: list[str] = []
    num_characters = 0
    for page in pdf:
        text_page = page.get_textpage()
        raw.append(text_page.get_text_range().replace("\r\n", "\n"))
        text_page.close()
        page.close()
        num_characters += len(raw[-1])
        require_characters(num_characters)
    mended, dropped["mended_hyphens"] = with_words_mended(raw)
    for page_text in mended:
        text, counts = clean(page_text)
        dropped.update(counts)
        yield text


def _heading_paths(pdf: pypdfium2.PdfDocument, num_pages: int) -> Iterator[Sequence[str]]:
    """For each page the bookmarks that it stands under: the first that leads to it, else the last one before."""
    headings_by_page: dict[int, list[tuple[int, str]]] = {}
    for number, bookmark in enumerate(pdf.get_toc()):
        target = bookmark.get_dest()
        index = target.get_index() if target else None
        if index is not None and number < MAX_SECTIONS:
            title = " ".join(clean(bookmark.get_title())[0].split())
            headings_by_page.setdefault(index, []).append((bookmark.level + 1, title))
    headings = HeadingPath()
    for index in range(num_pages):
        first, *others = headings_by_page.get(index) or [(0, "")]
        if first[0]:
            headings.enter(*first)
        while others and others[0][0] > first[0]:  # a chapter and its first section begin on one page
            first, *others = others
            headings.enter(*first)
        yield headings.path
        for level, title in others:
            headings.enter(level, title)


def _title(pdf: pypdfium2.PdfDocument) -> str:
    title = " ".join(clean(pdf.get_metadata_value("Title"))[0].split())
    return "" if title.lower() in ("untitled", "(anonymous)") else title


def _why(message: str) -> str:
    if "password" in message.lower():
        return "is encrypted: it needs a password"
    if "security" in message.lower():
        return "is encrypted in a way that is not supported"
    return f"is a damaged PDF: {message}"
