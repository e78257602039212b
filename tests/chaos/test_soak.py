"""A generator under random load for a while: callers who cancel, expire, dawdle and ask for the impossible.

A minute by default; `TRIVIUM_SOAK_S=600` makes it ten.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli.processes import Process
from cli.system import System
from tests.installation import metric
from tests.unit import seeded_generators as seeded
from tests.waiting import wait_until
from trivium.v1 import generator_pb2 as pb
from trivium.v1 import generator_pb2_grpc, passage_pb2

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SECONDS = float(os.environ.get("TRIVIUM_SOAK_S", "60"))
NUM_CALLERS = 16
WARM_S = SECONDS / 2
"""Until then allocators and caches of libraries take what the load needs."""
MAX_GROWTH = {"seq2seq": 0.05, "causal": 0.02}
"""Of the memory between that and the end. Beside searches it comes and goes by 2 %, as allocators give back what they
took."""

TEXTS = ["Passages travel once 🙂 why? " * 4, "文档 </s> [3]", "the deadline"]
"""Few: libraries keep code for each shape that they meet, until they have met most of them."""

ENDS = ("finished", "left", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT")
"""What becomes of calls, each of some; who could not be in time is refused too."""

SAVE = {"seq2seq": seeded.save_t5, "causal": seeded.save_llama}


@pytest.fixture(scope="module", params=list(SAVE))
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("soak")
    SAVE[request.param](folder / "model")
    settings = {
        "GENERATOR_ENGINE": request.param,
        "GENERATOR_MODEL": str(folder / "model"),
        "GENERATOR_MAX_PROMPT_TOKENS": "512",
        "GENERATOR_DTYPE": "float32",
        "OMP_NUM_THREADS": "1",
    }
    system = System(
        collections_path=folder / "collections",
        replicas={"gateway": 0, "retriever": 0, "indexer": 0, "reranker": 0},
        settings={"generator": settings},
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        yield processes.named("generator")[0]


class Load:
    """Callers of one generator, and what became of their calls."""

    def __init__(self, stub: Any, seed: int, has_beams: bool) -> None:
        self._stub = stub
        self._has_beams = has_beams
        self._random = random.Random(seed)
        self.ends: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as callers:
            for _ in range(NUM_CALLERS):
                callers.create_task(self._call_until(until))

    async def _call_until(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(self._random.expovariate(20))
            self.ends[await self._call()] += 1

    async def _call(self) -> str:
        timeout_s = self._random.choice([0.02, 0.2, 30.0, 30.0, 30.0])
        call = self._stub.Generate(self._request(), timeout=timeout_s)
        leaves_after = self._random.choice([None, None, None, 0, 1, 5])
        try:
            return await self._read(call, leaves_after)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        finally:
            call.cancel()

    async def _read(self, call: Any, leaves_after: int | None) -> str:
        if leaves_after == 0:
            await asyncio.sleep(self._random.uniform(0, 0.05))
            return "left"
        num_events, num_ends = 0, 0
        async for event in call:
            assert not num_ends, "nothing comes after the end"
            num_ends += event.HasField("finished")
            num_events += 1
            if num_events == leaves_after:
                return "left"
            if self._random.random() < 0.05:
                await asyncio.sleep(0.05)
        assert num_ends == 1
        return "finished"

    def _request(self) -> pb.GenerateRequest:
        texts = self._random.choices(TEXTS, k=3)
        passages = [passage_pb2.Passage(passage_id=str(number), text=text) for number, text in enumerate(texts)]
        return pb.GenerateRequest(question=self._random.choice(TEXTS), passages=passages, sampling=self._sampling())

    def _sampling(self) -> pb.Sampling:
        chance = self._random.random
        sampling = pb.Sampling(max_output_tokens=self._random.choice([1, 8, 40]))
        if self._has_beams and chance() < 0.1:
            sampling.num_beams = 3
            return sampling
        if chance() < 0.4:
            sampling.temperature, sampling.seed = 0.8, self._random.getrandbits(64)
            sampling.top_p = 0.9
        if chance() < 0.3:
            sampling.num_top_logprobs = 3
        if chance() < 0.3:
            sampling.stop.extend(["e", "th"][: self._random.randint(1, 2)])
        if chance() < 0.2:
            sampling.repetition_penalty = 1.2
        if chance() < 0.05:
            sampling.min_p = 7  # refused
        return sampling


@contextlib.asynccontextmanager
async def connected(generator: Process) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(generator.address) as channel:
        yield generator_pb2_grpc.GeneratorServiceStub(channel)


def status(generator: Process, field: str) -> int:
    """Of the process, as the kernel has it: kB or a count."""
    lines = Path(f"/proc/{generator.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def is_empty(generator: Process) -> bool:
    """Nobody waits, and nobody holds room in the cache."""
    names = ("trivium_queue_depth", "trivium_cache_tokens_reserved")
    return all(metric(generator.metrics_address, name) == 0 for name in names)


async def test_random_load_leaves_nothing_behind(generator: Process) -> None:
    engine = generator.environment["GENERATOR_ENGINE"]
    async with connected(generator) as stub:
        load = Load(stub, seed=1, has_beams=engine == "seq2seq")
        await load.run(WARM_S)
        memory, threads = status(generator, "VmRSS"), status(generator, "Threads")
        await load.run(SECONDS - WARM_S)
    wait_until(lambda: is_empty(generator))
    wait_until(lambda: status(generator, "Threads") <= threads)  # gRPC starts some when it is busy, and ends them
    assert status(generator, "VmRSS") <= memory * (1 + MAX_GROWTH[engine])
    assert load.ends.keys() <= {*ENDS, "RESOURCE_EXHAUSTED"}, load.ends
    assert min(load.ends[end] for end in ENDS) > 0, load.ends


async def test_after_it_an_answer_comes_as_before(generator: Process) -> None:
    request = pb.GenerateRequest(
        question="Is it well?", passages=[passage_pb2.Passage(passage_id="1", text="It is well.")]
    )
    request.sampling.max_output_tokens = 8
    async with connected(generator) as stub:
        *_, last = [event async for event in stub.Generate(request, timeout=30)]
    assert last.finished.usage.output_tokens > 0
    wait_until(lambda: is_empty(generator))
