"""The project's own pages as documents: one for each section of level 2, and one for what stands before the first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

from tests.evaluation.documentation.document import Document

ROOT = Path(__file__).resolve().parents[3]
PATHS = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/dependencies.md",
    "docs/documents.md",
    "docs/images.md",
    "docs/kubernetes.md",
    "docs/operations.md",
    "docs/settings.md",
    *(f"docs/decisions/{path.name}" for path in sorted((ROOT / "docs/decisions").glob("*.md")) if path.name < "0012"),
]
"""The pages that the questions were written over. A page that comes later is left out, so that figures stay
comparable and an unanswerable question unanswerable."""


def page_documents() -> Iterator[Document]:
    for path in PATHS:
        yield from _sections(path, (ROOT / path).read_text())


def _sections(path: str, text: str) -> Iterator[Document]:
    lines = text.splitlines(keepends=True)
    title = path
    starts = [(0, path)]
    tokens = MarkdownIt("commonmark").parse(text)
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open" or opening.level or not opening.map:
            continue
        if opening.tag == "h1":
            title = inline.content
        elif opening.tag == "h2":
            starts.append((opening.map[0], f"{path}#{_fragment(inline.content)}"))
    for (start, document_id), (end, _) in pairwise([*starts, (len(lines), "")]):
        if any(line.strip() for line in lines[start + 1 : end]):  # more than its heading
            yield Document(document_id, title, "".join(lines[start:end]).strip(), "documentation")


def _fragment(heading: str) -> str:
    """As GitHub and GitLab make a heading's anchor."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
