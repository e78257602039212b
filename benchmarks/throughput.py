"""Servers at saturation against the best offline loop over the same texts."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import floors, workload
from benchmarks.client import Client, in_flight, open_loop
from benchmarks.figures import Figure, spread
from benchmarks.floors import Floors
from benchmarks.scale import Scale
from benchmarks.servers import publish, serving, upsert
from benchmarks.stage_loads import RERANK, RETRIEVE, pairs, rerank_request, retrieve_request

OFFERED = 1.25
"""Of the floor's rate: more than the server can answer. What cannot be answered in time is refused."""

DEADLINE_S = 2.0
SETTLED = 0.4
"""Of an open loop's time: from then on the server is saturated and answers are counted."""

IN_FLIGHT = 64
BEST_PEER_SHARE = 0.50
"""Of the peers measured with this workload on another machine, the best one's rate over that of torch's own
length-sorted batches of 16 there, in the peer's dtype (Infinity 0.0.78, float32). To be beaten twofold."""


def encoding(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """η of question encoding: one-question requests at saturation ÷ the offline loop."""
    questions = workload.questions(scale.num_questions)
    requests = [retrieve_request(question) for question in questions]
    with serving(folder, dtype, "indexer", "retriever") as processes:
        publish(processes.address_of("indexer"), questions[:10])
        address = processes.address_of("retriever")
        return _efficiency(
            "encoding", scale, lambda: bare.measure(floors.encode_rate, questions), address, RETRIEVE, requests
        )


def reranking(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """η of reranking: requests of one candidate at saturation ÷ the offline loop."""
    asked = pairs(workload.questions(scale.num_questions), workload.texts(scale.num_questions // 2))
    requests = [rerank_request(*pair) for pair in asked]
    with serving(folder, dtype, "reranker") as processes:
        address = processes.address_of("reranker")
        return _efficiency(
            "reranking", scale, lambda: bare.measure(floors.rerank_rate, asked), address, RERANK, requests
        )


def peers(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """The workload that peers were measured with: mixed lengths, 64 in flight ÷ torch's own sorted batches of 16."""
    texts = workload.texts(scale.num_texts)
    shares, stock, best, served = [], [], [], []
    with serving(folder, dtype, "indexer", "retriever") as processes:
        publish(processes.address_of("indexer"), texts[:10])
        address = processes.address_of("retriever")
        for number in range(scale.rounds):
            part = texts[number :: scale.rounds]
            stock.append(bare.measure(floors.stock_rate, part))
            best.append(bare.measure(floors.encode_rate, part)[0])
            served.append(len(part) / asyncio.run(_seconds(address, [retrieve_request(text) for text in part])))
            shares.append(served[-1] / stock[-1])
    peak = bare.measure(floors.gemm_gflops, scale.gemm_size, 0.5)
    gflop = bare.measure(floors.forward_flop, texts) / 1e9 / len(texts)
    details = {
        "texts_per_s": spread(served),
        "stock_floor_per_s": spread(stock),
        "best_floor_per_s": spread(best),
        "served_over_best_floor": spread([ours / floor for ours, floor in zip(served, best, strict=True)]),
        "best_peer_share": BEST_PEER_SHARE,
        "gemm_peak_gflops": round(peak, 1),
        "share_of_gemm_peak": round(statistics.median(served) * gflop / peak, 3),
    }
    return Figure("peers", spread(shares), 2 * BEST_PEER_SHARE, is_floor=True, details=details)


def ingest(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """Passages a second through UpsertDocuments, acknowledged and so on disk ÷ the offline loop over the passages."""
    texts = workload.texts(scale.num_texts)[: 250 * scale.rounds]
    ratios, rates, bests = [], [], []
    with serving(folder, dtype, "indexer") as processes:
        address = processes.address_of("indexer")
        publish(address, texts[:2])
        for number in range(scale.rounds):
            part = texts[number :: scale.rounds]
            best, _ = bare.measure(floors.encode_rate, part, "passage")
            began = time.perf_counter()
            num_passages = upsert(address, f"round-{number}", part)
            rates.append(num_passages / (time.perf_counter() - began))
            bests.append(best)
            ratios.append(rates[-1] / best)
    details = {"passages_per_s": spread(rates), "offline_per_s": spread(bests)}
    return Figure("ingest", spread(ratios), 0.90, is_floor=True, details=details)


def _efficiency(
    name: str,
    scale: Scale,
    offline: Callable[[], tuple[float, int]],
    address: str,
    method: str,
    requests: Sequence[bytes],
) -> Figure:
    ratios, rates, bests, sizes = [], [], [], []
    for _ in range(scale.rounds):
        best, size = offline()
        rates.append(asyncio.run(_saturated(address, method, requests, OFFERED * best, scale.load_s)))
        bests.append(best)
        sizes.append(size)
        ratios.append(rates[-1] / best)
    details = {"served_per_s": spread(rates), "offline_per_s": spread(bests), "offline_batch_size": sizes[-1]}
    return Figure(name, spread(ratios), 0.90, is_floor=True, details=details)


async def _saturated(address: str, method: str, requests: Sequence[bytes], rate: float, seconds: float) -> float:
    async with Client(address, method, DEADLINE_S) as client:
        began = time.perf_counter()
        load = await open_loop(client.call, requests, rate, seconds)
        return load.rate(began + SETTLED * seconds, began + seconds)


async def _seconds(address: str, requests: Sequence[bytes]) -> float:
    async with Client(address, RETRIEVE) as client:
        return await in_flight(client.call, requests, IN_FLIGHT)
