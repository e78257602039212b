"""A disk that is full, and one that may not be written: writing is refused, and nobody who reads notices."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from cli.connection import Refusal
from cli.system import System
from tests.installation import Installation
from tests.waiting import wait_until
from trivium.v1 import indexer_pb2, retriever_pb2

pytestmark = pytest.mark.chaos

DISK_BYTES = 8 << 20
LEFT_BYTES = 96 << 10
"""Room for some documents, not for a version."""


@contextmanager
def mounted(path: Path, *arguments: str) -> Iterator[None]:
    """A mount, undone at the end."""
    try:
        subprocess.run(["mount", *arguments, str(path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Installation]:
    """An indexer and a retriever on a disk of a few megabytes, with one published version."""
    disk = tmp_path / "disk"
    disk.mkdir()
    system = System(
        collections_path=disk / "collections",
        replicas={"gateway": 0, "reranker": 0, "generator": 0},
        logs_path=tmp_path / "logs",
        device="cpu",
    )
    with mounted(disk, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"), system.processes() as processes:
        installation = Installation(processes, tmp_path)
        with installation.connected():
            installation.stub("indexer").CreateCollection(indexer_pb2.CreateCollectionRequest(name="birds"), timeout=30)
            assert store(installation, "heron", "The heron fishes.") == []
            assert publish(installation) == []
            wait_until(lambda: found(installation) == {"heron"}, 10)
            yield installation


@contextmanager
def refused() -> Iterator[list[Refusal]]:
    """What was refused within the block."""
    refusals: list[Refusal] = []
    try:
        yield refusals
    except grpc.RpcError as error:
        refusals.append(Refusal.of(error))


def store(installation: Installation, document_id: str, text: str) -> list[Refusal]:
    document = indexer_pb2.Document(document_id=document_id, sections=[indexer_pb2.Section(text=text)])
    requests = iter([indexer_pb2.UpsertDocumentsRequest(collection="birds", document=document)])
    with refused() as refusals:
        (reply,) = installation.stub("indexer").UpsertDocuments(requests, timeout=60)
        assert reply.outcome == indexer_pb2.UPSERT_OUTCOME_CREATED
    return refusals


def publish(installation: Installation) -> list[Refusal]:
    with refused() as refusals:
        installation.stub("indexer").PublishVersion(indexer_pb2.PublishVersionRequest(collection="birds"), timeout=60)
    return refusals


def found(installation: Installation) -> set[str]:
    """Every document, whichever version serves it."""
    request = retriever_pb2.RetrieveRequest(
        question="heron", collection="birds", top_k=1_000, mode=retriever_pb2.RETRIEVAL_MODE_DENSE
    )
    reply = installation.stub("retriever").Retrieve(request, timeout=30)
    return {candidate.passage.document_id for candidate in reply.candidates}


def test_a_full_disk_refuses_what_is_written_and_serves_what_is_there(small: Installation, tmp_path: Path) -> None:
    filler = tmp_path / "disk" / "filler"
    free = int(subprocess.check_output(["df", "--output=avail", "-B1", str(filler.parent)]).split()[-1])
    filler.write_bytes(bytes(free - LEFT_BYTES))
    acknowledged = {"heron"}
    for number in range(200):
        refusals = store(small, f"vole-{number}", f"Vole {number} digs. " * 40)
        if refusals:
            break
        acknowledged.add(f"vole-{number}")
    assert [(one.code, one.message) for one in refusals] == [("RESOURCE_EXHAUSTED", "the indexer's disk is full")]
    assert len(acknowledged) > 5
    wait_until(lambda: found(small) == acknowledged, 10)
    assert [(one.code, one.retry_after_s) for one in publish(small)] == [("RESOURCE_EXHAUSTED", None)]
    assert found(small) == acknowledged
    filler.unlink()
    assert store(small, "swift", "The swift flies.") == []
    assert publish(small) == []
    wait_until(lambda: found(small) == {*acknowledged, "swift"}, 10)


def test_versions_that_may_not_be_written_are_refused_and_what_is_there_is_served(
    small: Installation, tmp_path: Path
) -> None:
    versions = tmp_path / "disk" / "collections" / "birds" / "versions"
    with mounted(versions, "--bind", str(versions)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(versions)], check=True)
        assert store(small, "vole", "The vole digs.") == [], "the log can be written"
        (refusal,) = publish(small)
        assert (refusal.code, refusal.message) == (
            "FAILED_PRECONDITION",
            "the indexer may not write its collections",
        )
        wait_until(lambda: found(small) == {"heron", "vole"}, 10)
    assert publish(small) == []
    wait_until(lambda: found(small) == {"heron", "vole"}, 10)
