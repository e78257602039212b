"""Every file is stored or named with its reason."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from typer.testing import CliRunner, Result

from cli import collection
from cli.__main__ import app
from cli.system import free_ports
from trivium.v1 import indexer_pb2, indexer_pb2_grpc


class SmallIndexer(indexer_pb2_grpc.IndexerServiceServicer):
    """Keeps documents in memory."""

    def __init__(self, is_disk_full: bool = False) -> None:
        self.languages: dict[str, str] = {}
        self.documents: dict[str, indexer_pb2.Document] = {}
        self.sent: list[str] = []
        """Ids of the documents that were sent, in order."""
        self._is_disk_full = is_disk_full

    def GetCollection(self, request: Any, context: Any) -> indexer_pb2.GetCollectionResponse:
        if request.name not in self.languages:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such collection")
        return indexer_pb2.GetCollectionResponse()

    def CreateCollection(self, request: Any, context: Any) -> indexer_pb2.CreateCollectionResponse:
        language = request.analyzer.language or "en"
        if self.languages.setdefault(request.name, language) != language:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "this collection exists with other settings")
        return indexer_pb2.CreateCollectionResponse()

    def ListDocuments(self, request: Any, context: Any) -> Iterator[indexer_pb2.ListDocumentsResponse]:
        for document_id, document in sorted(self.documents.items()):
            content_hash = hashlib.sha256(document.SerializeToString(deterministic=True)).hexdigest()
            yield indexer_pb2.ListDocumentsResponse(document_id=document_id, content_hash=content_hash)

    def UpsertDocuments(
        self, requests: Iterator[indexer_pb2.UpsertDocumentsRequest], context: Any
    ) -> Iterator[indexer_pb2.UpsertDocumentsResponse]:
        for request in requests:
            if self._is_disk_full:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
            yield self._upsert(request.document)

    def _upsert(self, document: indexer_pb2.Document) -> indexer_pb2.UpsertDocumentsResponse:
        response = indexer_pb2.UpsertDocumentsResponse(document_id=document.document_id, num_passages=2)
        self.sent.append(document.document_id)
        if document.document_id.endswith("refused.md"):
            response.outcome, response.num_passages = indexer_pb2.UPSERT_OUTCOME_REJECTED, 0
            response.rejection.field, response.rejection.description = "document.title", "is no good"
        else:
            is_new = document.document_id not in self.documents
            response.outcome = indexer_pb2.UPSERT_OUTCOME_CREATED if is_new else indexer_pb2.UPSERT_OUTCOME_UPDATED
            self.documents[document.document_id] = document
        return response

    def PublishVersion(self, request: Any, context: Any) -> indexer_pb2.PublishVersionResponse:
        num_documents = len(self.documents)
        return indexer_pb2.PublishVersionResponse(
            index_version=4, num_documents=num_documents, num_passages=2 * num_documents
        )

    def DeleteDocuments(self, request: Any, context: Any) -> indexer_pb2.DeleteDocumentsResponse:
        assert 1 <= len(request.document_ids) <= 1_000
        deleted = [document_id for document_id in request.document_ids if self.documents.pop(document_id, None)]
        return indexer_pb2.DeleteDocumentsResponse(deleted_document_ids=deleted)

    def ListCollections(self, request: Any, context: Any) -> indexer_pb2.ListCollectionsResponse:
        raise NotImplementedError

    def DeleteCollection(self, request: Any, context: Any) -> indexer_pb2.DeleteCollectionResponse:
        raise NotImplementedError

    def ListVersions(self, request: Any, context: Any) -> indexer_pb2.ListVersionsResponse:
        raise NotImplementedError

    def RollbackVersion(self, request: Any, context: Any) -> indexer_pb2.RollbackVersionResponse:
        raise NotImplementedError

    def VerifyCollection(self, request: Any, context: Any) -> indexer_pb2.VerifyCollectionResponse:
        raise NotImplementedError

    def DeleteVersion(self, request: Any, context: Any) -> indexer_pb2.DeleteVersionResponse:
        raise NotImplementedError


@contextmanager
def serving(indexer: SmallIndexer, health: HealthServicer | None = None, port: int = 0) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    register: Any = indexer_pb2_grpc.add_IndexerServiceServicer_to_server
    register(indexer, server)
    if health:
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def ingest(indexer: SmallIndexer, *arguments: str | Path) -> Result:
    with serving(indexer) as address:
        return CliRunner().invoke(app, ["ingest", *map(str, arguments), "--indexer", address])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:03}.md").write_text(f"# Number {number}\n\nWords about the number {number}.\n")
    return folder


def test_a_folder_is_stored_and_published(corpus: Path) -> None:
    indexer = SmallIndexer()
    run = ingest(indexer, corpus)
    assert run.exit_code == 0
    assert sorted(indexer.documents) == [f"corpus/{number:03}.md" for number in range(100)]
    assert "100 created · 0 updated · 0 unchanged · 0 rejected" in run.stdout
    assert "200 new" in run.stdout
    assert "collection default is published as version 4: 100 documents, 200 passages" in run.stdout


def test_only_what_differs_is_sent(corpus: Path) -> None:
    indexer = SmallIndexer()
    ingest(indexer, corpus)
    indexer.sent.clear()
    (corpus / "007.md").write_text("other words")
    run = ingest(indexer, corpus)
    assert indexer.sent == ["corpus/007.md"]
    assert "0 created · 1 updated · 99 unchanged · 0 rejected" in run.stdout
    indexer.sent.clear()
    run = ingest(indexer, corpus)
    assert indexer.sent == []
    assert "0 created · 0 updated · 100 unchanged · 0 rejected" in run.stdout
    assert "is published as version 4" in run.stdout


def test_the_same_file_named_twice_is_sent_once(corpus: Path) -> None:
    indexer = SmallIndexer()
    run = ingest(indexer, corpus / "001.md", corpus / "001.md")
    assert run.exit_code == 0
    assert indexer.sent == ["001.md"]
    assert "1 created · 0 updated · 1 unchanged" in run.stdout


def test_broken_files_are_named_and_the_rest_go_on(corpus: Path) -> None:
    (corpus / "005.md").write_bytes(b"\0")
    (corpus / "refused.md").write_text("words")
    indexer = SmallIndexer()
    run = ingest(indexer, corpus, corpus / "absent.md")
    assert run.exit_code == 1
    assert f"rejected {corpus / '005.md'}: is no text: byte 0 is NUL" in run.stdout
    assert f"rejected {corpus / 'refused.md'}: document.title: is no good" in run.stdout
    assert f"rejected {corpus / 'absent.md'}: cannot be read: No such file or directory" in run.stdout
    assert "99 created · 0 updated · 0 unchanged · 3 rejected" in run.stdout
    assert "is published as version 4" in run.stdout


def test_a_file_whose_name_is_no_text_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Good\n\nIt is fine.\n")
    (tmp_path / os.fsdecode(b"b\xffd.md")).write_text("# Odd\n\nIts name is odd.\n")
    indexer = SmallIndexer()
    result = ingest(indexer, tmp_path)
    assert result.exit_code == 1
    assert "b\ufffdd.md: its name is not UTF-8" in result.output
    assert len(indexer.documents) == 1


def test_two_files_of_one_document_id_are_not_taken_for_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "docs").mkdir(parents=True)
        (tmp_path / name / "docs" / "x.md").write_text(name)
    run = ingest(SmallIndexer(), tmp_path / "a" / "docs", tmp_path / "b" / "docs")
    assert run.exit_code == 1
    assert "1 created" in run.stdout
    assert f"has the same document id as {tmp_path / 'a' / 'docs' / 'x.md'}" in run.stdout


def test_two_rows_of_one_document_id_are_not_taken_for_one(tmp_path: Path) -> None:
    rows = ({"key": "a", "text": "one"}, {"key": "b", "text": "two"}, {"key": "a", "text": "three"})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    indexer = SmallIndexer()
    run = ingest(indexer, tmp_path / "rows.jsonl", "--id-field", "key")
    assert run.exit_code == 1
    assert indexer.documents["a"].sections[0].text == "one"
    assert f"rejected {tmp_path / 'rows.jsonl'}: holds two documents of one id: a" in run.stdout


def test_fields_of_rows_are_mapped_by_option(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("key,name,short,long,at\n7,Heron,It waits.,It waits for frogs.,file:///heron\n")
    options = ("--id-field", "key", "--title-field", "name", "--text-field", "long", "--uri-field", "at")
    indexer = SmallIndexer()
    assert ingest(indexer, tmp_path / "rows.csv", *options).exit_code == 0
    (document,) = indexer.documents.values()
    assert (document.document_id, document.title, document.uri) == ("7", "Heron", "file:///heron")
    assert [section.text for section in document.sections] == ["It waits for frogs."]


def test_near_duplicates_are_stored_and_named(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(200))
    (tmp_path / "a.md").write_text(words)
    (tmp_path / "b.md").write_text(f"{words} and one more")
    indexer = SmallIndexer()
    run = ingest(indexer, tmp_path / "a.md", tmp_path / "b.md")
    assert run.exit_code == 0
    assert sorted(indexer.documents) == ["a.md", "b.md"]
    assert f"near-duplicate {tmp_path / 'b.md'}: says nearly what a.md says" in run.stdout


def test_nothing_is_published_when_nothing_was_accepted(tmp_path: Path) -> None:
    run = ingest(SmallIndexer(), tmp_path / "absent.md")
    assert run.exit_code == 1
    assert "nothing was published" in run.stdout


def test_an_indexer_that_refuses_the_whole_ends_it(corpus: Path) -> None:
    run = ingest(SmallIndexer(is_disk_full=True), corpus)
    assert run.exit_code == 1
    assert run.stderr == "RESOURCE_EXHAUSTED: the disk is full\n"


def test_a_language_is_that_of_a_new_collection(corpus: Path) -> None:
    indexer = SmallIndexer()
    assert ingest(indexer, corpus, "--language", "zh", "--collection", "c").exit_code == 0
    assert indexer.languages == {"c": "zh"}
    assert ingest(indexer, corpus, "--collection", "c").exit_code == 0
    run = ingest(indexer, corpus, "--language", "de", "--collection", "c")
    assert run.exit_code == 1
    assert run.stderr == "ALREADY_EXISTS: this collection exists with other settings\n"


def test_json_counts_and_names(corpus: Path) -> None:
    (corpus / "005.md").write_bytes(b"")
    (corpus / "006.md").write_text((corpus / "007.md").read_text() + "\a")
    run = ingest(SmallIndexer(), corpus, "--json")
    summary = json.loads(run.stdout)
    languages = summary.pop("languages")
    assert sum(languages.values()) == 99
    assert summary == {
        "collection": "default",
        "created": 99,
        "updated": 0,
        "unchanged": 0,
        "rejected": 1,
        "num_files": 100,
        "num_passages": 198,
        "num_deleted": 0,
        "num_unpruned": 0,
        "index_version": 4,
        "num_published_documents": 99,
        "num_published_passages": 198,
        "dropped": {"control_characters": 1},
        "near_duplicates": [
            {"path": str(corpus / "007.md"), "document_id": "corpus/007.md", "nearly_equals": "corpus/006.md"}
        ],
        "rejections": [{"path": str(corpus / "005.md"), "reason": "holds no text"}],
    }


def test_without_waiting_an_absent_indexer_is_reported_at_once(corpus: Path) -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    run = CliRunner().invoke(app, ["ingest", str(corpus), "--indexer", f"127.0.0.1:{port}"])
    assert run.exit_code == 1
    assert run.stderr == f"UNAVAILABLE: no indexer answers at 127.0.0.1:{port}; `trivium up` starts one\n"
    assert time.monotonic() - began < 5


def test_waiting_ends_when_the_time_is_over(corpus: Path) -> None:
    (port,) = free_ports(1)
    began = time.monotonic()
    run = CliRunner().invoke(app, ["ingest", str(corpus), "--indexer", f"127.0.0.1:{port}", "--wait", "1"])
    assert 0.5 < time.monotonic() - began < 10
    assert run.exit_code == 1
    assert run.stderr.endswith("`trivium up` starts one (waited 1 s)\n")


def test_an_indexer_that_starts_is_waited_for(corpus: Path) -> None:
    health, indexer = HealthServicer(), SmallIndexer()
    health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    (port,) = free_ports(1)
    command = ["ingest", str(corpus), "--indexer", f"127.0.0.1:{port}", "--wait", "60"]
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(CliRunner().invoke, app, command)
        time.sleep(1)
        assert not run.done()
        with serving(indexer, health, port):
            time.sleep(1)
            assert not run.done()
            assert not indexer.languages, "it was called before it served"
            health.set("", health_pb2.HealthCheckResponse.SERVING)
            assert run.result(timeout=60).exit_code == 0
    assert len(indexer.documents) == 100


def test_an_indexer_that_never_serves_is_named(corpus: Path) -> None:
    health = HealthServicer()
    health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    with serving(SmallIndexer(), health) as address:
        run = CliRunner().invoke(app, ["ingest", str(corpus), "--indexer", address, "--wait", "0.5"])
    assert run.stderr == (f"UNAVAILABLE: the indexer at {address} is not serving: it starts or stops (waited 0.5 s)\n")


def test_pruning_deletes_what_is_no_longer_in_the_folder(corpus: Path) -> None:
    indexer = SmallIndexer()
    ingest(indexer, corpus)
    for number in range(40):
        (corpus / f"{number:03}.md").unlink()
    assert ingest(indexer, corpus, "--json").exit_code == 0
    assert len(indexer.documents) == 100, "without the option everything stays"
    run = ingest(indexer, corpus, "--prune")
    assert run.exit_code == 0
    assert sorted(indexer.documents) == [f"corpus/{number:03}.md" for number in range(40, 100)]
    assert "40 documents" in run.stdout


def test_more_than_one_request_of_documents_is_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "MAX_IDS", 10)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": "{number}", "text": "words"}}\n' for number in range(25)))
    indexer = SmallIndexer()
    ingest(indexer, tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"id": "7", "text": "words"}\n')
    ingest(indexer, tmp_path / "rows.jsonl", "--prune")
    assert list(indexer.documents) == ["rows.jsonl#7"]


@pytest.mark.parametrize("spoilt", ["a file that cannot be read", "an empty folder"])
def test_pruning_deletes_nothing_when_something_may_only_be_out_of_reach(corpus: Path, spoilt: str) -> None:
    indexer = SmallIndexer()
    ingest(indexer, corpus)
    for path in corpus.iterdir():
        if spoilt == "an empty folder" or path.name < "040.md":
            path.unlink()
    if spoilt != "an empty folder":
        (corpus / "picture.pdf").write_bytes(b"no PDF")
    run = ingest(indexer, corpus, "--prune")
    assert len(indexer.documents) == 100
    assert f"{100 if spoilt == 'an empty folder' else 40} documents were not pruned" in run.stdout
