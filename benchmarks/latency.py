"""One question with nothing else in flight, against a bare forward pass and a bare call."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks import floors, workload
from benchmarks.client import Client, one_by_one
from benchmarks.echo import ECHO
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale
from benchmarks.servers import publish, running, serving
from benchmarks.stage_loads import RERANK, RETRIEVE, rerank_request, retrieve_request

WARM_UP = 10


def retriever(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Idle p50 of one 11-token question ÷ (bare forward + echo)."""
    request = retrieve_request(workload.QUESTION)
    with serving(folder, dtype, "indexer", "retriever") as processes:
        publish(processes.address_of("indexer"), workload.texts(10))
        return _idle(
            "idle-retriever",
            scale,
            lambda: bare.measure(floors.forward_ms, workload.QUESTION, scale.num_alone),
            processes.address_of("retriever"),
            RETRIEVE,
            request,
        )


def reranker(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Idle p50 of one pair ÷ (bare forward + echo)."""
    passage = workload.texts(10)[0]
    with serving(folder, dtype, "reranker") as processes:
        return _idle(
            "idle-reranker",
            scale,
            lambda: bare.measure(floors.rerank_forward_ms, workload.QUESTION, passage, scale.num_alone),
            processes.address_of("reranker"),
            RERANK,
            rerank_request(workload.QUESTION, passage),
        )


def _idle(name: str, scale: Scale, forward: Callable[[], float], address: str, method: str, request: bytes) -> Figure:
    ratios, idle, forwards, echoes = [], [], [], []
    with running("benchmarks.echo") as (_, echo_address):
        for _ in range(scale.rounds):
            forwards.append(forward())
            echoes.append(asyncio.run(_p50_ms(echo_address, ECHO, request, scale.num_alone)))
            idle.append(asyncio.run(_p50_ms(address, method, request, scale.num_alone)))
            ratios.append(idle[-1] / (forwards[-1] + echoes[-1]))
    details = {"idle_p50_ms": spread(idle), "forward_ms": spread(forwards), "echo_ms": spread(echoes)}
    return Figure(name, spread(ratios), 1.15, is_floor=False, details=details)


async def _p50_ms(address: str, method: str, request: bytes, repetitions: int) -> float:
    async with Client(address, method) as client:
        await one_by_one(client.call, [request] * WARM_UP)
        return statistics.median(await one_by_one(client.call, [request] * repetitions))
