"""Clocks: what each process's machine takes for now. Deadlines travel as durations; traces and logs do not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.health import CLOCK_KEY
from cli.checks.check import Finding, Status, Trouble
from cli.checks.network import Network, on_each
from cli.checks.places import Endpoint, Place
from cli.connection import Refusal

TOLERANCE_S = 2.0


def examine_clock(place: Place, network: Network) -> Iterator[Finding]:
    """The clock of every replica behind a place, against ours."""
    endpoints = network.endpoints(place)
    offsets = on_each(lambda endpoint: _offset_s(endpoint, network), endpoints)
    for endpoint, offset_s in zip(endpoints, offsets, strict=True):
        if abs(offset_s) > TOLERANCE_S:
            raise Trouble(
                f"{endpoint.address} is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} us",
                "Synchronise the machines' clocks (chrony, systemd-timesyncd): spans and certificates go by them.",
            )
    yield Finding(Status.OK, f"within {max(0.001, *map(abs, offsets)):.3f} s of ours")


def _offset_s(endpoint: Endpoint, network: Network) -> float:
    """Their clock minus ours, 0 where the time that asking took leaves it open. Raises Trouble."""
    before = time.time()
    try:
        with network.channel(endpoint) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            _, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=network.timeout_s)
    except grpc.RpcError as error:
        raise Trouble(
            f"{endpoint.address} does not tell its time: {Refusal.of(error).line}", "Is this Trivium's gRPC port?"
        ) from None
    told = dict(call.trailing_metadata()).get(CLOCK_KEY)
    if told is None:
        raise Trouble(f"{endpoint.address} does not tell its time", "Is it another version, or not Trivium at all?")
    return offset_s(int(told) / 1e3, before, time.time())


def offset_s(theirs: float, before: float, after: float) -> float:
    """How far a clock is off that was read while ours went from `before` to `after`: 0 when they may agree."""
    return max(theirs - after, min(0.0, theirs - before))
