"""Documents in, versions out: what a client of the indexer sees, and a retriever that follows."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.connection import Refusal
from tests.installation import Installation
from tests.waiting import wait_until
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


def test_what_is_stored_is_searched_before_it_is_published(trivium: Installation) -> None:
    create(trivium, "live")
    upsert(trivium, "live", document("one", "The heron fishes."), document("two", "The tractor ploughs."))
    version = publish(trivium, "live")

    def found(mode: Any) -> list[str]:
        return sorted(search(trivium, "live", "heron", version, mode))

    upsert(trivium, "live", document("one", "The submarine dives."), document("three", "A heron stands in the water."))
    wait_until(lambda: found(SPARSE) == ["three"], 10)
    assert found(retriever_pb2.RETRIEVAL_MODE_DENSE) == ["one", "three", "two"]
    trivium.stub("indexer").DeleteDocuments(
        indexer_pb2.DeleteDocumentsRequest(collection="live", document_ids=["three"]), timeout=30
    )
    wait_until(lambda: found(SPARSE) == [], 10)
    assert found(retriever_pb2.RETRIEVAL_MODE_DENSE) == ["one", "two"]
    assert publish(trivium, "live") == version + 1
    assert search(trivium, "live", "submarine", version + 1) == ["one"]


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


def refused(call: Any, request: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=30)
    return Refusal.of(raised.value)


@pytest.mark.slow
def test_a_version_is_rolled_back_while_questions_go_on(trivium: Installation) -> None:
    """Of a thousand searches none fails, and none mixes versions: of each the texts are known.

    A version may be seen with what was stored since, or without.
    """
    create(trivium, "life")
    texts = {f"d{number}": f"The heron of pond {number}." for number in range(5)}
    upsert(trivium, "life", *(document(name, text) for name, text in texts.items()))
    first = publish(trivium, "life")
    holds = {first: [texts]}
    stop, seen, failed = threading.Event(), Counter[int](), list[str]()

    def keep_searching() -> None:
        options = gateway_pb2.SearchOptions(collection="life", mode=SPARSE)
        request = gateway_pb2.SearchRequest(question="heron pond", search=options)
        while not stop.is_set():
            try:
                found = trivium.stub("gateway").Search(request, timeout=30)
            except grpc.RpcError as error:
                failed.append(str(error))
                continue
            version = found.report.index_version
            if {one.passage.document_id: one.passage.text for one in found.sources} not in holds[version]:
                failed.append(f"version {version} answered with {found.sources}")
            seen[version] += 1

    searching = [threading.Thread(target=keep_searching) for _ in range(2)]
    indexer = trivium.stub("indexer")
    for thread in searching:
        thread.start()
    try:
        wait_until(lambda: seen[first])
        for number in range(4):
            changed, back = first + 2 * number + 1, first + 2 * number + 2
            now = dict(texts) | {"d0": f"The heron of pond {number} has flown."}
            holds[changed - 1].append(now)
            holds[changed], holds[back] = [now], [texts]
            upsert(trivium, "life", document("d0", now["d0"]))
            assert publish(trivium, "life") == changed
            wait_until(lambda changed=changed: seen[changed] >= 125)  # type: ignore[misc]
            request = indexer_pb2.RollbackVersionRequest(collection="life", index_version=first)
            assert indexer.RollbackVersion(request, timeout=60).version.index_version == back
            wait_until(lambda back=back: seen[back] >= 125)  # type: ignore[misc]
    finally:
        stop.set()
        for thread in searching:
            thread.join()
    assert failed == []
    assert len(seen) == 9
    assert seen.total() >= 1_000


def test_the_command_line_looks_after_versions(trivium: Installation, tmp_path: Path) -> None:
    def run(*arguments: str, expected: int = 0) -> str:
        done = CliRunner().invoke(app, ["collection", *arguments, "--indexer", trivium.address("indexer")])
        assert done.exit_code == expected, done.output
        return done.stdout

    for name in ("heron", "vole"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\nThe {name} lives at the pond.\n")
    first = trivium.ingest(tmp_path, collection="pond")["index_version"]
    vole = f"{tmp_path.name}/vole.md"
    deleted = json.loads(run("delete-documents", "pond", vole, "--json"))
    assert deleted == {
        "deleted_document_ids": [vole],
        "num_deleted_documents": "1",
        "absent_from_version": str(first + 1),
        "held_by_versions": [str(first)],
    }
    assert search(trivium, "pond", "vole", first + 1) == []
    assert f"not there {vole}" in run("delete-documents", "pond", vole, expected=1)
    told = run("rollback", "pond", str(first))
    assert f"published as version {first + 2}: 1 documents, 1 passages, as in version {first}" in told
    versions = json.loads(run("versions", "pond", "--json"))["versions"]
    assert [(int(one["index_version"]), one["is_published"]) for one in versions] == [
        (first + 2, True),
        (first + 1, False),
        (first, False),
    ]
    assert "published" in run("versions", "pond").splitlines()[1]
    assert f"still held by version {first} " in run("delete-documents", "pond", vole, expected=1)
    checked = json.loads(run("verify", "pond", "--json"))
    assert checked["num_deleted_documents"] == "1"
    assert (checked["log"]["fault"], checked["log"]["held_document_ids"]) == ("", [])
    assert {one["index_version"]: one["held_document_ids"] for one in checked["versions"]} == {
        str(first): [vole],
        str(first + 1): [],
        str(first + 2): [],
    }
    assert "still held" not in run("delete-documents", "pond", vole, "--purge", expected=1)
    assert vole not in run("verify", "pond")
    assert "is deleted" in run("delete-version", "pond", str(first + 1))
    assert len(json.loads(run("versions", "pond", "--json"))["versions"]) == 1
    run("rollback", "pond", str(first), expected=1)
    assert "pond" in run("list")
    assert "1, in 1 passages" in run("show", "pond")
    assert f"as version {first + 2}" in run("publish", "pond"), "nothing has changed"


def test_a_deleted_collection_is_served_no_more_and_its_name_is_free(trivium: Installation, tmp_path: Path) -> None:
    (tmp_path / "heron.md").write_text("# Heron\n\nThe heron fishes.\n")
    trivium.ingest(tmp_path, collection="gone")
    arguments = ["collection", "delete", "gone", "--indexer", trivium.address("indexer")]
    assert CliRunner().invoke(app, arguments, input="n\n").exit_code == 1
    assert search(trivium, "gone", "heron", 0) != []
    assert CliRunner().invoke(app, [*arguments, "--yes"]).exit_code == 0

    def is_unknown() -> bool:
        try:
            search(trivium, "gone", "heron", 0)
        except grpc.RpcError as error:
            return Refusal.of(error).code == "NOT_FOUND"
        return False

    wait_until(is_unknown, 10)
    absent = refused(trivium.stub("indexer").DeleteCollection, indexer_pb2.DeleteCollectionRequest(name="gone"))
    assert absent.code == "NOT_FOUND"
    no_name = refused(trivium.stub("indexer").DeleteCollection, indexer_pb2.DeleteCollectionRequest())
    assert (no_name.code, no_name.field_violations[0]["field"]) == ("INVALID_ARGUMENT", "name")
    create(trivium, "gone")
    upsert(trivium, "gone", document("one", "The vole digs."))
    assert search(trivium, "gone", "heron vole", publish(trivium, "gone")) == ["one"]


def test_what_cannot_be_done_to_versions_is_refused_by_name(trivium: Installation) -> None:
    create(trivium, "refusals")
    upsert(trivium, "refusals", document("one", "The heron fishes."))
    version = publish(trivium, "refusals")
    indexer = trivium.stub("indexer")
    published = indexer_pb2.DeleteVersionRequest(collection="refusals", index_version=version)
    refusal = refused(indexer.DeleteVersion, published)
    assert (refusal.code, refusal.message) == ("FAILED_PRECONDITION", "retrievers follow this version")
    for call, kind in (
        (indexer.DeleteVersion, indexer_pb2.DeleteVersionRequest),
        (indexer.RollbackVersion, indexer_pb2.RollbackVersionRequest),
    ):
        absent = refused(call, kind(collection="refusals", index_version=99))
        assert (absent.code, absent.message) == ("NOT_FOUND", "no such version (99)")
        zero = refused(call, kind(collection="refusals"))
        assert (zero.code, zero.field_violations[0]["field"]) == ("INVALID_ARGUMENT", "index_version")
    for ids, field in (([], "document_ids"), (["a", ""], "document_ids[1]"), (["a" * 257], "document_ids[0]")):
        refusal = refused(
            indexer.DeleteDocuments, indexer_pb2.DeleteDocumentsRequest(collection="refusals", document_ids=ids)
        )
        assert (refusal.code, refusal.field_violations[0]["field"]) == ("INVALID_ARGUMENT", field)
    assert search(trivium, "refusals", "heron", version) == ["one"]
