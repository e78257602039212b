"""The servers that are measured: event loops on the front core, model threads on the device's."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from benchmarks.rig import DEVICE_CORE, pin_threads
from cli.processes import Process, Processes
from cli.system import STAGES, TREE, System, clean_environment, free_ports
from trivium.v1 import indexer_pb2, indexer_pb2_grpc

READY_S = 60
DEFAULT = "default"
SECTIONS = 10
ALL = ("gateway", "indexer", *STAGES)
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@contextmanager
def serving(folder: Path, dtype: str, *names: str, settings: Mapping[str, str] | None = None) -> Iterator[Processes]:
    """These processes, and no others, as they are by default but for the dtype. `settings` go to all of them."""
    models = [name for name in names if name in ("retriever", "indexer", "reranker", "generator")]
    system = System(
        collections_path=folder / "collections",
        replicas={name: int(name in names) for name in ALL},
        settings={
            name: THREADS
            | ({f"{name.upper()}_DTYPE": dtype} if name in models else {})
            | {f"{name.upper()}_{setting}": value for setting, value in (settings or {}).items()}
            for name in names
        },
        device="cpu",
        logs_path=folder / "logs",
    )
    with system.processes() as processes:
        for process in processes.all:
            if process.name in models:
                # Threads that the model's own one starts bear its name.
                assert pin_threads(process.pid, f"{process.name}-device", DEVICE_CORE), "no device thread"
        yield processes


@contextmanager
def running(module: str, *arguments: str) -> Iterator[tuple[Process, str]]:
    """A server of this package on a free port, its first argument; and its address."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    process = Process(
        module, [sys.executable, "-m", module, address, *arguments], clean_environment(), working_path=TREE
    )
    process.start()
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(READY_S)
        yield process, address
    finally:
        process.kill()


def publish(address: str, texts: Sequence[str]) -> None:
    """The default collection, with these texts, published."""
    with grpc.insecure_channel(address) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        stub.CreateCollection(indexer_pb2.CreateCollectionRequest(name=DEFAULT))
    upsert(address, "first", texts)
    with grpc.insecure_channel(address) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        stub.PublishVersion(indexer_pb2.PublishVersionRequest(collection=DEFAULT))


def upsert(address: str, name: str, texts: Sequence[str]) -> int:
    """Texts as documents of ten sections; returns how many passages they are once all are acknowledged."""
    documents = [
        indexer_pb2.Document(
            document_id=f"{name}-{start}",
            sections=[indexer_pb2.Section(text=text) for text in texts[start : start + SECTIONS]],
        )
        for start in range(0, len(texts), SECTIONS)
    ]
    requests = (indexer_pb2.UpsertDocumentsRequest(collection=DEFAULT, document=one) for one in documents)
    with grpc.insecure_channel(address) as channel:
        responses = indexer_pb2_grpc.IndexerServiceStub(channel).UpsertDocuments(requests)
        return sum(response.num_passages for response in responses)
