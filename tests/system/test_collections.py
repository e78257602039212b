"""Documents in, versions out: what a client of the indexer sees, and a retriever that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.connection import Refusal
from tests.installation import Installation
from trivium.v1 import gateway_pb2, indexer_pb2, retriever_pb2

SPARSE = retriever_pb2.RETRIEVAL_MODE_SPARSE


def document(document_id: str, text: str, **more: Any) -> indexer_pb2.UpsertDocumentsRequest:
    return indexer_pb2.UpsertDocumentsRequest(
        document=indexer_pb2.Document(
            document_id=document_id, title=document_id, sections=[indexer_pb2.Section(text=text, **more)]
        )
    )


def create(trivium: Installation, name: str, language: str = "") -> None:
    trivium.stub("indexer").CreateCollection(
        indexer_pb2.CreateCollectionRequest(name=name, analyzer=indexer_pb2.Analyzer(language=language)), timeout=30
    )


def upsert(
    trivium: Installation, collection: str, *requests: indexer_pb2.UpsertDocumentsRequest
) -> dict[str, indexer_pb2.UpsertDocumentsResponse]:
    requests[0].collection = collection
    replies = list(trivium.stub("indexer").UpsertDocuments(iter(requests), timeout=60))
    assert len(replies) == len(requests)
    return {reply.document_id: reply for reply in replies}


def publish(trivium: Installation, collection: str) -> int:
    published = trivium.stub("indexer").PublishVersion(
        indexer_pb2.PublishVersionRequest(collection=collection), timeout=60
    )
    return int(published.index_version)


def search(trivium: Installation, collection: str, question: str, version: int, mode: Any = SPARSE) -> list[str]:
    options = gateway_pb2.SearchOptions(collection=collection, mode=mode, min_index_version=version)
    found = trivium.stub("gateway").Search(gateway_pb2.SearchRequest(question=question, search=options), timeout=30)
    assert found.report.index_version >= version
    return [source.passage.document_id for source in found.sources]


def test_a_chinese_document_is_found_by_a_two_character_word(trivium: Installation) -> None:
    create(trivium, "chinese", "zh")
    upsert(
        trivium,
        "chinese",
        document("weather", "今天北京的天气很好，适合出门散步。"),
        document("database", "数据库系统负责存储和检索大量的结构化信息。"),
        document("cooking", "这道菜需要新鲜的蔬菜和一点盐。"),
    )
    version = publish(trivium, "chinese")
    assert search(trivium, "chinese", "检索", version) == ["database"]
    assert search(trivium, "chinese", "天气", version) == ["weather"]
    assert search(trivium, "chinese", "汽车", version) == []


def test_the_same_document_twice_changes_nothing(trivium: Installation) -> None:
    create(trivium, "twice")
    once = upsert(trivium, "twice", document("one", "The heron stands in the shallow water."))
    version = publish(trivium, "twice")
    again = upsert(trivium, "twice", document("one", "The heron stands in the shallow water."))
    assert once["one"].outcome == indexer_pb2.UPSERT_OUTCOME_CREATED
    assert again["one"].outcome == indexer_pb2.UPSERT_OUTCOME_UNCHANGED
    assert publish(trivium, "twice") == version


def test_a_changed_document_replaces_its_former_self_in_both_legs(trivium: Installation) -> None:
    create(trivium, "changed")
    upsert(trivium, "changed", document("one", "The heron fishes."), document("two", "The tractor ploughs."))
    publish(trivium, "changed")
    replies = upsert(trivium, "changed", document("one", "The submarine dives."))
    version = publish(trivium, "changed")
    assert replies["one"].outcome == indexer_pb2.UPSERT_OUTCOME_UPDATED
    assert search(trivium, "changed", "heron", version) == []
    assert search(trivium, "changed", "submarine", version) == ["one"]
    dense = search(trivium, "changed", "submarine", version, retriever_pb2.RETRIEVAL_MODE_DENSE)
    assert sorted(dense) == ["one", "two"]


def test_a_rejected_document_ends_nothing(trivium: Installation) -> None:
    create(trivium, "rejected")
    wrong = document("wrong", "four")
    wrong.document.sections[0].range.end = 99
    replies = upsert(trivium, "rejected", document("good", "It is fine."), wrong, document("better", "This is finer."))
    assert replies["wrong"].outcome == indexer_pb2.UPSERT_OUTCOME_REJECTED
    assert replies["wrong"].rejection.field == "document.sections[0].range"
    assert replies["good"].outcome == replies["better"].outcome == indexer_pb2.UPSERT_OUTCOME_CREATED


def test_nothing_published_is_a_failed_precondition(trivium: Installation) -> None:
    create(trivium, "unpublished")
    with pytest.raises(grpc.RpcError) as raised:
        search(trivium, "unpublished", "anything", 0)
    assert Refusal.of(raised.value).code == "FAILED_PRECONDITION"


def test_collections_are_created_once_and_listed_in_pages(trivium: Installation) -> None:
    indexer = trivium.stub("indexer")
    for name in ("page-a", "page-b", "page-a"):
        create(trivium, name)
    names, token = [], ""
    while True:
        page = indexer.ListCollections(indexer_pb2.ListCollectionsRequest(page_size=1, page_token=token), timeout=30)
        names += [collection.name for collection in page.collections]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(set(names))
    assert {"page-a", "page-b", "default"} <= set(names)
    with pytest.raises(grpc.RpcError) as raised:
        create(trivium, "page-a", "fr")
    assert Refusal.of(raised.value).code == "ALREADY_EXISTS"


def test_the_command_line_ingests_the_same_files_once(trivium: Installation, tmp_path: Path) -> None:
    (tmp_path / "heron.md").write_text("# Herons\n\nA heron stands still and waits.\n\n## Food\n\nIt eats frogs.\n")
    (tmp_path / "broken.md").write_bytes(b"\xff\xfe\x00\x00 not text")
    first = trivium.ingest(tmp_path / "heron.md", collection="files")
    again = trivium.ingest(tmp_path / "heron.md", collection="files")
    assert (first["created"], again["created"], again["unchanged"]) == (1, 0, 1)
    assert again["index_version"] == first["index_version"]


def test_a_citation_opens_the_right_place(trivium: Installation, tmp_path: Path) -> None:
    text = "# Herons\n\nA heron stands still and waits.\n\n## Food\n\nIt eats frogs, and now and then a vole. 🐸\n"
    (tmp_path / "heron.md").write_text(text)
    version = trivium.ingest(tmp_path / "heron.md", collection="places")["index_version"]
    options = gateway_pb2.SearchOptions(collection="places", min_index_version=version)
    found = trivium.stub("gateway").Search(gateway_pb2.SearchRequest(question="vole", search=options), timeout=30)
    passage = found.sources[0].passage
    assert "vole" in passage.text
    assert text[passage.range.start : passage.range.end] == passage.text
    assert passage.heading_path[-1] == "Food"
