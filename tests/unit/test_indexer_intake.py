"""What is wrong with a document is said by field."""

from __future__ import annotations

from typing import Any

import pytest

from services.retriever.indexer.intake import Rejected, read_document
from services.retriever.indexer.splitter import Section
from trivium.v1 import indexer_pb2

GOOD: dict[str, Any] = {"document_id": "a", "sections": [{"text": "text"}]}


def request(**fields: Any) -> indexer_pb2.UpsertDocumentsRequest:
    return indexer_pb2.UpsertDocumentsRequest(document=indexer_pb2.Document(**{**GOOD, **fields}))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"document_id": ""}, "document.document_id"),
        ({"document_id": "a" * 257}, "document.document_id"),
        ({"title": "t" * 1_025}, "document.title"),
        ({"uri": "u" * 2_049}, "document.uri"),
        ({"sections": []}, "document.sections"),
        ({"sections": [{"text": "x" * 2_000_001}] * 2}, "document.sections"),
        ({"sections": [{"text": " \n"}]}, "document.sections"),
        ({"sections": [{"text": "a"}, {"text": ""}]}, "document.sections[1].text"),
        ({"sections": [{"text": "a", "heading_path": ["h"] * 17}]}, "document.sections[0].heading_path"),
        ({"sections": [{"text": "a", "page": 0}]}, "document.sections[0].page"),
        ({"sections": [{"text": "a", "uri": "u" * 2_049}]}, "document.sections[0].uri"),
        ({"sections": [{"text": "abc", "range": {"start": 0, "end": 2}}]}, "document.sections[0].range"),
        ({"sections": [{"text": "abc", "range": {"start": 5, "end": 2}}]}, "document.sections[0].range"),
    ],
)
def test_the_field_at_fault_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as rejected:
        read_document(request(**fields))
    assert rejected.value.field == field
    assert rejected.value.description


def test_a_request_without_a_document_is_rejected() -> None:
    with pytest.raises(Rejected, match="must be set"):
        read_document(indexer_pb2.UpsertDocumentsRequest())


def test_sections_without_ranges_follow_each_other() -> None:
    document = read_document(
        request(
            sections=[
                {"text": "中文🙂"},
                {"text": "b", "page": 2, "uri": "file:///b", "heading_path": ["h"]},
                {"text": "c", "range": {"start": 10, "end": 11}},
                {"text": "d"},
            ]
        )
    )
    assert document.sections == (
        Section((), "中文🙂", 0, None, ""),
        Section(("h",), "b", 3, 2, "file:///b"),
        Section((), "c", 10, None, ""),
        Section((), "d", 11, None, ""),
    )


def test_the_content_hash_is_that_of_the_content() -> None:
    hashes = {
        read_document(request(**fields)).content_hash
        for fields in (
            {},
            {"title": "t"},
            {"sections": [{"text": "other"}]},
            {"sections": [{"text": "text", "page": 1}]},
        )
    }
    assert len(hashes) == 4
    assert read_document(request()).content_hash == read_document(request()).content_hash
