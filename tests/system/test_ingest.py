"""`trivium ingest` and a real indexer: waited for while it starts, and sent only what differs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.connection import open_channel
from cli.system import System, clean_environment
from tests.installation import ROOT

ONE_INDEXER = dict.fromkeys(("gateway", "retriever", "reranker", "generator"), 0)
SERVICE = "/trivium.v1.IndexerService/"


class Recorder(grpc.GenericRpcHandler):
    """Passes every call on, message by message, and counts what the caller sends."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self.num_sent: Counter[str] = Counter()
        """Messages by method."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        method = str(handler_call_details.method)

        def forward(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call: Any = self._channel.stream_stream(method)
            try:
                yield from call(self._counted(method, requests), timeout=context.time_remaining())
            except grpc.RpcError as error:
                failure: Any = error
                context.set_trailing_metadata(failure.trailing_metadata())
                context.abort(failure.code(), failure.details())

        return grpc.stream_stream_rpc_method_handler(forward)

    def _counted(self, method: str, requests: Iterator[bytes]) -> Iterator[bytes]:
        for request in requests:
            with self._lock:
                self.num_sent[method.removeprefix(SERVICE)] += 1
            yield request


@contextmanager
def recorded(indexer: str) -> Iterator[tuple[str, Counter[str]]]:
    """An address in front of the indexer's, and how many messages of each method have come to it."""
    with open_channel(indexer) as channel:
        recorder = Recorder(channel)
        server = grpc.server(ThreadPoolExecutor(8), handlers=[recorder])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", recorder.num_sent
        finally:
            server.stop(None).wait()


def ingestion(address: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "ingest", *map(str, arguments), "--indexer", address, "--json"],
        cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    parsed: dict[str, Any] = json.loads(output)
    return parsed


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(1_000):
        (folder / f"{number:03}.md").write_text(f"# Heron {number}\n\nHeron {number} waits for frog {number}.\n")
    return folder


@pytest.fixture(scope="module")
def indexer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An indexer that is started only once an ingestion waits for it."""
    folder = tmp_path_factory.mktemp("indexer")
    processes = System(folder / "collections", replicas=ONE_INDEXER, device="cpu").processes()
    waiting = ingestion(processes.address_of("indexer"), ROOT / "README.md", "--wait", "600")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=3)
    with processes:
        assert report(waiting)["created"] == 1
        yield processes.address_of("indexer")


def test_an_indexer_that_is_started_later_is_waited_for(indexer: str) -> None:
    assert report(ingestion(indexer, ROOT / "README.md"))["unchanged"] == 1


def test_of_a_thousand_files_only_the_one_that_changed_is_sent(indexer: str, corpus: Path) -> None:
    with recorded(indexer) as (address, num_sent):
        first = report(ingestion(address, corpus, "--collection", "herons"))
        assert (first["created"], num_sent["UpsertDocuments"]) == (1_000, 1_000)
        num_sent.clear()
        again = report(ingestion(address, corpus, "--collection", "herons"))
        assert (again["unchanged"], again["index_version"]) == (1_000, first["index_version"])
        assert num_sent["UpsertDocuments"] == 0
        (corpus / "500.md").write_text("# Heron 500\n\nIt has flown away.\n")
        changed = report(ingestion(address, corpus, "--collection", "herons"))
    assert (changed["updated"], changed["unchanged"], changed["num_published_documents"]) == (1, 999, 1_000)
    assert changed["index_version"] > first["index_version"]
    assert num_sent["UpsertDocuments"] == 1
