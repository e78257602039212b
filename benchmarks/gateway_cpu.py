"""What a question costs the gateway itself, against a process that only passes three calls on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from benchmarks import workload
from benchmarks.client import Client, in_flight
from benchmarks.echo import RELAY
from benchmarks.figures import Figure, Spread, spread
from benchmarks.floors import Floors
from benchmarks.rig import cpu_seconds
from benchmarks.scale import Scale
from benchmarks.servers import running, serving
from trivium.v1 import gateway_pb2

ANSWER = "/trivium.v1.GatewayService/Answer"
IN_FLIGHT = 8
CALLS = 20
"""For each question counted elsewhere: CPU time is measured in hundredths of a second."""


def gateway(scale: Scale, bare: Floors, dtype: str, folder: Path) -> Figure:
    """CPU seconds a question ÷ those of a relay with three unary calls, stages answering at once.

    Beside it, for what gRPC itself takes of the rest: a relay of the gateway's own calls, bytes and stream.
    """
    request = gateway_pb2.AnswerRequest(question=workload.QUESTION).SerializeToString()
    count = CALLS * scale.num_alone
    with (
        running("benchmarks.ready_stages") as (_, stages),
        running("benchmarks.echo") as (_, echo),
        running("benchmarks.echo", echo) as (relay, relay_address),
        running("benchmarks.ready_stages", stages) as (same, same_address),
        serving(folder, dtype, "gateway", settings={f"{stage}_ADDRESS": stages for stage in STAGE_NAMES}) as processes,
    ):
        ours, theirs, sames = [], [], []
        for _ in range(scale.rounds):
            theirs.append(asyncio.run(_cpu_ms(relay.pid, relay_address, RELAY, request, count)))
            sames.append(asyncio.run(_cpu_ms(same.pid, same_address, RELAY, request, count)))
            ours.append(
                asyncio.run(_cpu_ms(processes.all[0].pid, processes.address_of("gateway"), ANSWER, request, count))
            )
    details = {
        "gateway_cpu_ms": spread(ours),
        "relay_cpu_ms": spread(theirs),
        "relay_of_same_calls_cpu_ms": spread(sames),
        "gateway_over_same_calls": _over(ours, sames),
    }
    return Figure("gateway-cpu", _over(ours, theirs), 2.0, is_floor=False, details=details)


def _over(ours: Sequence[float], floors: Sequence[float]) -> Spread:
    """Ratios, round by round."""
    return spread([mine / floor for mine, floor in zip(ours, floors, strict=True)])


STAGE_NAMES = ("RETRIEVER", "RERANKER", "GENERATOR")


async def _cpu_ms(pid: int, address: str, method: str, request: bytes, count: int) -> float:
    async with Client(address, method) as client:
        await in_flight(client.call, [request] * IN_FLIGHT, IN_FLIGHT)
        before = cpu_seconds(pid)
        await in_flight(client.call, [request] * count, IN_FLIGHT)
        return (cpu_seconds(pid) - before) / count * 1e3
