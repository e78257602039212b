"""A running Trivium, as a test sees it: addresses, stubs, logs and spans."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from cli.connection import open_channel
from cli.otlp import SpanReceiver
from cli.processes import Processes
from cli.system import clean_environment
from trivium.v1 import gateway_pb2_grpc, generator_pb2_grpc, indexer_pb2_grpc, reranker_pb2_grpc, retriever_pb2_grpc

ROOT = Path(__file__).resolve().parents[1]
GO_TOOLS = ROOT / ".tools" / "bin"

STUB_BY_PROCESS: dict[str, Any] = {
    "gateway": gateway_pb2_grpc.GatewayServiceStub,
    "retriever": retriever_pb2_grpc.RetrieverServiceStub,
    "indexer": indexer_pb2_grpc.IndexerServiceStub,
    "reranker": reranker_pb2_grpc.RerankerServiceStub,
    "generator": generator_pb2_grpc.GeneratorServiceStub,
}


@dataclass
class Installation:
    """Processes that serve, and what tests want of them."""

    processes: Processes
    folder: Path
    receiver: SpanReceiver | None = None
    channels: dict[str, grpc.Channel] = field(default_factory=dict)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Channels to every process, closed at the end."""
        with ExitStack() as stack:
            for process in self.processes.all:
                self.channels[process.name] = stack.enter_context(open_channel(process.address))
            yield

    def stub(self, process: str) -> Any:
        """A blocking stub for a process, the first replica of several."""
        name = self.processes.named(process)[0].name
        return STUB_BY_PROCESS[process](self.channels[name])

    def address(self, process: str) -> str:
        """Its gRPC address."""
        return self.processes.address_of(process)

    def ingest(self, *paths: Path, collection: str = "default", language: str | None = None) -> dict[str, Any]:
        """What `trivium ingest --json` printed."""
        arguments = ["ingest", *map(str, paths), "--collection", collection, "--indexer", self.address("indexer")]
        if language:
            arguments += ["--language", language]
        report: dict[str, Any] = json.loads(run_cli(*arguments, "--json"))
        return report

    def logs(self) -> str:
        """Everything that every process has logged."""
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs").glob("*.log")))


def run_cli(*arguments: str) -> str:
    """The standard output of a `trivium` command that succeeds."""
    finished = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr + finished.stdout
    return finished.stdout


def grpcurl(address: str, *arguments: str, data: object = None) -> subprocess.CompletedProcess[str]:
    """What grpcurl makes of a call, or of `list`."""
    options = ["-d", json.dumps(data)] if data is not None else []
    return subprocess.run(
        [GO_TOOLS / "grpcurl", "-plaintext", *options, address, *arguments], capture_output=True, text=True, timeout=60
    )


def metric(address: str, name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels, read from `/metrics` as Prometheus does."""
    import urllib.request

    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    assert samples, f"{address} shows no {name}"
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())
