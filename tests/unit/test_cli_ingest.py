"""Every file is stored or named with its reason."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from cli.__main__ import app
from trivium.v1 import indexer_pb2, indexer_pb2_grpc


class SmallIndexer(indexer_pb2_grpc.IndexerServiceServicer):
    """Keeps documents in memory."""

    def __init__(self, is_disk_full: bool = False) -> None:
        self.languages: dict[str, str] = {}
        self.documents: dict[str, indexer_pb2.Document] = {}
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

    def UpsertDocuments(
        self, requests: Iterator[indexer_pb2.UpsertDocumentsRequest], context: Any
    ) -> Iterator[indexer_pb2.UpsertDocumentsResponse]:
        for request in requests:
            if self._is_disk_full:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
            yield self._upsert(request.document)

    def _upsert(self, document: indexer_pb2.Document) -> indexer_pb2.UpsertDocumentsResponse:
        response = indexer_pb2.UpsertDocumentsResponse(document_id=document.document_id, num_passages=2)
        if document.document_id.endswith("refused.md"):
            response.outcome, response.num_passages = indexer_pb2.UPSERT_OUTCOME_REJECTED, 0
            response.rejection.field, response.rejection.description = "document.title", "is no good"
        elif self.documents.get(document.document_id) == document:
            response.outcome = indexer_pb2.UPSERT_OUTCOME_UNCHANGED
        else:
            is_new = document.document_id not in self.documents
            response.outcome = indexer_pb2.UPSERT_OUTCOME_CREATED if is_new else indexer_pb2.UPSERT_OUTCOME_UPDATED
            self.documents[document.document_id] = document
        return response

    def PublishVersion(self, request: Any, context: Any) -> indexer_pb2.PublishVersionResponse:
        return indexer_pb2.PublishVersionResponse(index_version=4)

    def ListCollections(self, request: Any, context: Any) -> indexer_pb2.ListCollectionsResponse:
        raise NotImplementedError


@contextmanager
def serving(indexer: SmallIndexer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    register: Any = indexer_pb2_grpc.add_IndexerServiceServicer_to_server
    register(indexer, server)
    port = server.add_insecure_port("127.0.0.1:0")
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
        (folder / f"{number:03}.md").write_text(f"# Number {number}\n\nWords.\n")
    return folder


def test_a_folder_is_stored_and_published(corpus: Path) -> None:
    indexer = SmallIndexer()
    run = ingest(indexer, corpus)
    assert run.exit_code == 0
    assert sorted(indexer.documents) == [f"corpus/{number:03}.md" for number in range(100)]
    assert "100 created · 0 updated · 0 unchanged · 0 rejected · 200 passages" in run.stdout
    assert "collection default is published as version 4" in run.stdout


def test_the_same_files_again_change_nothing(corpus: Path) -> None:
    indexer = SmallIndexer()
    ingest(indexer, corpus)
    (corpus / "007.md").write_text("other words")
    run = ingest(indexer, corpus)
    assert "0 created · 1 updated · 99 unchanged · 0 rejected" in run.stdout


def test_broken_files_are_named_and_the_rest_go_on(corpus: Path) -> None:
    (corpus / "005.md").write_bytes(b"\xff")
    (corpus / "refused.md").write_text("words")
    indexer = SmallIndexer()
    run = ingest(indexer, corpus, corpus / "absent.md")
    assert run.exit_code == 1
    assert f"rejected {corpus / '005.md'}: is not UTF-8: byte 0 cannot be decoded" in run.stdout
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
    run = ingest(SmallIndexer(), corpus, "--json")
    summary = json.loads(run.stdout)
    assert {name: summary[name] for name in ("created", "rejected", "num_passages", "index_version")} == {
        "created": 99,
        "rejected": 1,
        "num_passages": 198,
        "index_version": 4,
    }
    assert summary["rejections"] == [{"path": str(corpus / "005.md"), "reason": "holds no text"}]
