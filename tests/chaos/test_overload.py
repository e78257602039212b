"""More than the device can do: what is admitted is served in time, the rest is refused at once."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest

from cli.connection import Refusal
from cli.system import System
from tests.installation import Installation, metric
from trivium.v1 import reranker_pb2, reranker_pb2_grpc

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

DEADLINE_S = 1.0
WORDS = ("gateway", "carries", "one", "deadline", "and", "trace", "through", "retrieval", "reranking", "generation")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A reranker alone, on one thread: the other core is the caller's."""
    folder = tmp_path_factory.mktemp("overload")
    nothing_else = dict.fromkeys(("gateway", "retriever", "indexer", "generator"), 0)
    system = System(
        collections_path=folder,
        replicas=nothing_else,
        settings={"reranker": {"OMP_NUM_THREADS": "1", "RERANKER_MAX_BATCH_TOKENS": "512"}},
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        yield Installation(processes, folder)


@dataclass(frozen=True)
class Outcome:
    """What became of one call."""

    code: str
    seconds: float
    retry_after_s: float | None = None


def request(random_words: random.Random) -> reranker_pb2.RerankRequest:
    text = " ".join(random_words.choices(WORDS, k=random_words.randint(20, 120)))
    candidate = reranker_pb2.RerankCandidate(passage_id="a", text=text)
    return reranker_pb2.RerankRequest(question="what carries the trace", candidates=[candidate])


async def call(
    stub: reranker_pb2_grpc.RerankerServiceAsyncStub, one: reranker_pb2.RerankRequest, timeout_s: float = DEADLINE_S
) -> Outcome:
    began = time.perf_counter()
    try:
        await stub.Rerank(one, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        seconds = time.perf_counter() - began
        return Outcome(error.code().name, seconds, Refusal.of(error).retry_after_s)
    return Outcome("OK", time.perf_counter() - began)


async def closed_loop(stub: reranker_pb2_grpc.RerankerServiceAsyncStub, callers: int, seconds: float) -> float:
    """Calls answered per second when so many callers ask one after the other."""
    stop_at, words, answered = time.monotonic() + seconds, random.Random(0), 0

    async def ask() -> None:
        nonlocal answered
        while time.monotonic() < stop_at:
            outcome = await call(stub, request(words), timeout_s=60)  # so that a slow machine refuses none of them
            answered += outcome.code == "OK"

    await asyncio.gather(*(ask() for _ in range(callers)))
    return answered / seconds


async def open_loop(stub: reranker_pb2_grpc.RerankerServiceAsyncStub, rate: float, seconds: float) -> list[Outcome]:
    """Poisson arrivals at `rate` per second, whatever becomes of them."""
    words, tasks = random.Random(1), []
    began, due = time.monotonic(), 0.0
    while due < seconds:
        due += words.expovariate(rate)
        await asyncio.sleep(max(0.0, began + due - time.monotonic()))
        tasks.append(asyncio.create_task(call(stub, request(words))))
    return list(await asyncio.gather(*tasks))


async def watch(metrics_address: str, seconds: float) -> float:
    """The share of the next seconds in which the device computes. Exact to one batch."""
    busy_s, began = metric(metrics_address, "trivium_batch_compute_seconds_sum"), time.perf_counter()
    await asyncio.sleep(seconds)
    return (metric(metrics_address, "trivium_batch_compute_seconds_sum") - busy_s) / (time.perf_counter() - began)


async def test_at_half_as_much_again_as_capacity_the_admitted_are_served_in_time(reranker: Installation) -> None:
    (process,) = reranker.processes.named("reranker")
    async with grpc.aio.insecure_channel(process.address) as channel:
        stub = reranker_pb2_grpc.RerankerServiceStub(channel)
        capacity = await closed_loop(stub, callers=16, seconds=4)
        loading = asyncio.create_task(open_loop(stub, 1.5 * capacity, seconds=12))
        await asyncio.sleep(1.5)
        share_busy = await watch(process.metrics_address, seconds=10)
        saturation = metric(process.metrics_address, "trivium_saturation")
        outcomes = await loading
    refused = [outcome for outcome in outcomes if outcome.code == "RESOURCE_EXHAUSTED"]
    admitted = [outcome for outcome in outcomes if outcome.code != "RESOURCE_EXHAUSTED"]
    in_time = sum(outcome.code == "OK" for outcome in admitted) / len(admitted)
    assert refused, f"nothing was refused of {len(outcomes)} at 1.5 × {capacity:.0f}/s: this was no overload"
    refusal_ms = statistics.median(outcome.seconds for outcome in refused) * 1e3
    late_refusals = sum(outcome.seconds >= 0.02 for outcome in refused) / len(refused)
    print(
        f"capacity {capacity:.0f}/s, {len(outcomes)} offered, {len(refused)} refused in {refusal_ms:.1f} ms "
        f"({late_refusals:.1%} above 20 ms), {in_time:.1%} of the admitted in time, "
        f"device busy {share_busy:.1%}, saturation {saturation:.2f}"
    )
    assert in_time >= 0.95
    assert share_busy >= 0.95
    assert refusal_ms < 20
    assert late_refusals <= 0.25  # on two cores the caller itself is late at times
    assert all(outcome.retry_after_s is not None for outcome in refused)
    assert 1 < saturation < 2.5
