"""A collection that grows and changes: how soon a document is found, what waiting ones cost, what size costs."""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks import servers, stored, synthetic
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale
from cli.connection import open_channel
from cli.system import TREE, clean_environment
from services.retriever.collection import Collection
from services.retriever.live import LiveSegment
from services.retriever.record import FILE_NAME
from services.retriever.version import Version, load
from trivium.v1 import indexer_pb2, indexer_pb2_grpc, retriever_pb2, retriever_pb2_grpc

QUESTION_WORDS = 6
LIMIT = 100
POLL_S = 0.005


def visible(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Seconds from a document's acknowledgement until a search finds it: p99, one document after the other."""
    with servers.serving(folder, dtype, "indexer", "retriever") as processes:
        servers.publish(processes.address_of("indexer"), synthetic.texts(10, stored.NUM_WORDS))
        with (
            open_channel(processes.address_of("indexer")) as indexer,
            open_channel(processes.address_of("retriever")) as retriever,
        ):
            waits = [
                _wait_s(
                    indexer_pb2_grpc.IndexerServiceStub(indexer),
                    retriever_pb2_grpc.RetrieverServiceStub(retriever),
                    f"heron{number}",
                )
                for number in range(scale.num_questions)
            ]
    details = {"p50_s": round(statistics.median(waits), 3), "num_documents": len(waits)}
    return Figure("upsert-to-visible", spread([float(np.quantile(waits, 0.99))]), 1.0, is_floor=False, details=details)


def live(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Time of both legs beside the largest live segment ÷ without one."""
    collection = stored.create(folder, "live")
    asyncio.run(stored.add(collection, scale.num_passages, seed=0))
    asyncio.run(stored.publish(collection))
    version = _published(collection)
    segment = LiveSegment(version, collection.log_path / FILE_NAME)
    ms_by_size, details = {0: _legs_ms(version, scale)}, dict[str, Any]()
    for size in scale.live_sizes:
        asyncio.run(stored.add(collection, size - segment.num_passages, seed=size))
        started = time.perf_counter()
        grown = segment.follow()
        details[f"read_{size}_s"] = round(time.perf_counter() - started, 2)
        assert grown is not None
        ms_by_size[size] = _legs_ms(grown, scale)
    for size, legs in ms_by_size.items():
        details |= {f"{leg}_{size}_ms": spread(ms) for leg, ms in legs.items()}
    without, beside = (_both(ms_by_size[size]) for size in (0, max(ms_by_size)))
    ratios = [with_live / alone for alone, with_live in zip(without, beside, strict=True)]
    details["num_passages"] = scale.num_passages
    return Figure("live-segment", spread(ratios), 1.5, is_floor=False, details=details)


def growth(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Time of both legs over the largest collection ÷ over the smallest. More than the sizes' own ratio is a fault."""
    details: dict[str, Any] = {}
    totals = []
    for size in scale.sizes:
        collection = stored.create(folder, f"c{size}")
        for name, work in {
            "store": stored.add(collection, size, seed=0),
            "publish": stored.publish(collection),
        }.items():
            started = time.perf_counter()
            asyncio.run(work)
            details[f"{name}_{size}_s"] = round(time.perf_counter() - started, 1)
        measured = _in_own_process(collection, scale)
        details |= {f"{name}_{size}_{unit}": measured[name] for name, unit in UNIT_BY_NAME.items()}
        totals.append(measured["dense"] + measured["bm25"])
    ratio, largest = totals[-1] / totals[0], scale.sizes[-1] / scale.sizes[0]
    return Figure("growth", spread([ratio]), largest, is_floor=False, details=details)


UNIT_BY_NAME = {"load": "s", "memory": "mb", "dense": "ms", "bm25": "ms"}


def _in_own_process(collection: Collection, scale: Scale) -> dict[str, float]:
    """So that memory is one version's alone."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.knowledge_base", str(collection.path), str(scale.num_alone)],
        cwd=TREE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(UNIT_BY_NAME, map(float, finished.stdout.split()), strict=True))


def _wait_s(
    indexer: indexer_pb2_grpc.IndexerServiceStub, retriever: retriever_pb2_grpc.RetrieverServiceStub, word: str
) -> float:
    document = indexer_pb2.Document(document_id=word, sections=[indexer_pb2.Section(text=f"The {word}.")])
    list(indexer.UpsertDocuments(iter([indexer_pb2.UpsertDocumentsRequest(document=document)]), timeout=60))
    acknowledged = time.perf_counter()
    request = retriever_pb2.RetrieveRequest(question=word, mode=retriever_pb2.RETRIEVAL_MODE_SPARSE)
    while not retriever.Retrieve(request, timeout=60).candidates:
        time.sleep(POLL_S)
    return time.perf_counter() - acknowledged


def _published(collection: Collection) -> Version:
    pointer = collection.pointer()
    assert pointer is not None
    return load(collection, pointer, stored.ENCODER)


def _legs_ms(version: Version, scale: Scale) -> dict[str, list[float]]:
    """p50 of each leg, in each round."""
    faiss.omp_set_num_threads(1)
    vectors = synthetic.vectors(scale.num_alone, seed=1)
    questions = synthetic.texts(scale.num_alone, QUESTION_WORDS, seed=1)
    return {
        "dense": [_p50_ms(lambda one: version.dense.search(one, LIMIT), list(vectors)) for _ in range(scale.rounds)],
        "bm25": [_p50_ms(lambda one: version.sparse.search(one, LIMIT), questions) for _ in range(scale.rounds)],
    }


def _both(legs: dict[str, list[float]]) -> list[float]:
    return [dense + bm25 for dense, bm25 in zip(legs["dense"], legs["bm25"], strict=True)]


def _p50_ms(search: Callable[[Any], object], questions: Sequence[Any]) -> float:
    durations = []
    for question in questions:
        started = time.perf_counter()
        search(question)
        durations.append(time.perf_counter() - started)
    return 1_000 * statistics.median(durations)


def main(path: str, num_alone: str) -> None:
    """Prints what `UNIT_BY_NAME` names, of one published collection."""
    started = time.perf_counter()
    version = _published(Collection(Path(path)))
    load_s = time.perf_counter() - started
    legs = _legs_ms(version, Scale(1, 0, 0, 0, int(num_alone), 0))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    print(round(load_s, 2), round(megabytes), *(round(ms, 3) for (ms,) in legs.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
