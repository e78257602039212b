"""What is wrong with a document is said by field."""

from __future__ import annotations

from typing import Any

import pytest

from services.retriever.indexer.intake import Rejected, require_valid
from services.retriever.indexer.splitter import Document, Section


def section(text: str, start: int = 0, end: int | None = None, **fields: Any) -> Section:
    defaults: dict[str, Any] = {"heading_path": (), "page": None, "uri": ""}
    return Section(text=text, start=start, end=start + len(text) if end is None else end, **{**defaults, **fields})


def document(**fields: Any) -> Document:
    defaults: dict[str, Any] = {"document_id": "a", "title": "", "uri": "", "content_hash": "hash"}
    return Document(**{**defaults, "sections": (section("text"),), **fields})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"document_id": ""}, "document.document_id"),
        ({"document_id": "a" * 257}, "document.document_id"),
        ({"title": "t" * 1_025}, "document.title"),
        ({"uri": "u" * 2_049}, "document.uri"),
        ({"sections": ()}, "document.sections"),
        ({"sections": (section("x" * 2_000_001),) * 2}, "document.sections"),
        ({"sections": (section(" \n"),)}, "document.sections"),
        ({"sections": (section("a"), section(""))}, "document.sections[1].text"),
        ({"sections": (section("a", heading_path=("h",) * 17),)}, "document.sections[0].heading_path"),
        ({"sections": (section("a", heading_path=("h", "h" * 513)),)}, "document.sections[0].heading_path[1]"),
        ({"sections": (section("a"),) * 50_001}, "document.sections"),
        ({"sections": (section("a", page=0),)}, "document.sections[0].page"),
        ({"sections": (section("a", uri="u" * 2_049),)}, "document.sections[0].uri"),
        ({"sections": (section("abc", 0, 2),)}, "document.sections[0].range"),
        ({"sections": (section("abc", 5, 2),)}, "document.sections[0].range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_field_at_fault_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as rejected:
        require_valid(document(**fields))
    assert rejected.value.field == field
    assert rejected.value.description


def test_a_document_at_every_limit_is_fine() -> None:
    longest = section("x" * 80, 7, heading_path=("h" * 512,) * 16, page=1, uri="u" * 2_048)
    require_valid(document(document_id="a" * 256, title="t" * 1_024, uri="u" * 2_048, sections=(longest,) * 50_000))
