"""What probes are told on the health port, from the first moment of a process to its last."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.health import LIVENESS, HealthPort, LoopWatch
from cli.processes import Process
from cli.system import TREE, System, clean_environment, free_ports
from trivium.v1.generator_pb2 import CountTokensRequest
from trivium.v1.generator_pb2_grpc import GeneratorServiceStub

PATIENCE_S = 60
SERVICE = "trivium.v1.GeneratorService"
NONE = dict.fromkeys(("gateway", "retriever", "indexer", "reranker", "generator"), 0)
TAKEN = "an address that somebody else has"

BLOCKING = """
import sys, time
from chassis import health
from chassis.config import ServerConfig
from chassis.server import run
from trivium.v1.generator_pb2 import CountTokensResponse
from trivium.v1.generator_pb2_grpc import GeneratorServiceServicer, add_GeneratorServiceServicer_to_server

health.LIVENESS_LIMIT_S = 2.0

def block(phase, seconds):
    print(phase, flush=True)
    time.sleep(seconds)

class Blocking(GeneratorServiceServicer):
    full_name = "trivium.v1.GeneratorService"

    def register(self, server):
        add_GeneratorServiceServicer_to_server(self, server)

    async def start(self):
        block("loading", 5)

    async def stop(self):
        block("stopping", 8)

    async def CountTokens(self, request, context):
        block("answering", float(request.texts[0]))
        return CountTokensResponse()

def build(config, runtime):
    block("importing", 5)
    return Blocking()

run("blocking", ServerConfig, build)
"""
"""A process whose event loop stands still, in every phase of its life, for longer than its liveness allows."""


class Probe:
    """What a health port says, and everything that it has said."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 100)])
        self._stub: Any = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def status(self, service: str) -> str:
        """SERVING or NOT_SERVING; else the code with which the call failed."""
        try:
            reply = self._stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        except grpc.RpcError as error:
            failure: Any = error
            return str(failure.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))

    def both(self) -> tuple[str, str]:
        """Readiness and liveness."""
        return self.status(""), self.status(LIVENESS)


@pytest.fixture
def probe_of() -> Iterator[Callable[[str], Probe]]:
    probes: list[Probe] = []

    def open_probe(address: str) -> Probe:
        probes.append(Probe(address))
        return probes[-1]

    yield open_probe
    for probe in probes:
        probe.close()


@pytest.fixture
def blocking() -> Iterator[Process]:
    grpc_port, health_port = free_ports(2)
    environment = clean_environment() | {
        "BLOCKING_LISTEN_ADDRESS": f"127.0.0.1:{grpc_port}",
        "BLOCKING_HEALTH_ADDRESS": f"127.0.0.1:{health_port}",
        "BLOCKING_DRAIN_DELAY_S": "0.5",
    }
    process = Process(
        "blocking",
        [sys.executable, "-c", BLOCKING],
        environment,
        address=f"127.0.0.1:{grpc_port}",
        health_address=f"127.0.0.1:{health_port}",
        working_path=TREE,
    )
    process.start()
    yield process
    process.kill()


def has_logged(process: Process, text: str) -> bool:
    return any(text in line for line in list(process.lines))


def until(condition: Callable[[], bool], process: Process) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        process.raise_if_ended()
        assert time.monotonic() < give_up_at, "\n".join(process.lines)
        time.sleep(0.02)


@pytest.mark.slow
def test_probes_are_answered_while_the_event_loop_is_busy(blocking: Process, probe_of: Callable[[str], Probe]) -> None:
    probe = probe_of(blocking.health_address)
    for phase, following in (("importing", "loading"), ("loading", '"serving"')):
        until(lambda phase=phase: has_logged(blocking, phase), blocking)  # type: ignore[misc]
        said = probe.both()
        assert not has_logged(blocking, following), "the phase ended before it was probed"
        assert said == ("NOT_SERVING", "SERVING")
    until(lambda: has_logged(blocking, '"serving"'), blocking)
    assert probe.both() == ("SERVING", "SERVING")
    assert probe.status(SERVICE) == "SERVING"
    blocking.terminate()
    until(lambda: has_logged(blocking, '"draining"'), blocking)
    assert probe.both() == ("NOT_SERVING", "SERVING")
    until(lambda: has_logged(blocking, "stopping"), blocking)
    time.sleep(2.5)  # Longer than the limit: a process that drains is not given up.
    assert probe.status(LIVENESS) == "SERVING"
    assert blocking.wait(PATIENCE_S) == 0


@pytest.mark.slow
def test_a_stuck_event_loop_fails_liveness_says_where_and_may_recover(
    blocking: Process, probe_of: Callable[[str], Probe]
) -> None:
    probe = probe_of(blocking.health_address)
    until(lambda: probe.status(LIVENESS) == "SERVING" and blocking.is_serving(), blocking)
    with grpc.insecure_channel(blocking.address) as channel:
        GeneratorServiceStub(channel).CountTokens(CountTokensRequest(texts=["0.1"]), timeout=30)
        assert probe.status(LIVENESS) == "SERVING", "a moment's block is no reason"
        call = GeneratorServiceStub(channel).CountTokens.future(CountTokensRequest(texts=["8"]), timeout=60)
        until(lambda: probe.status(LIVENESS) == "NOT_SERVING", blocking)
        assert not call.done()
        call.result()
    until(lambda: probe.status(LIVENESS) == "SERVING", blocking)
    (stuck,) = (json.loads(line) for line in list(blocking.lines) if "event loop stuck" in line)
    assert stuck["where"][-1].endswith("block")


@pytest.mark.slow
def test_a_real_process_answers_probes_while_it_imports_torch(tmp_path: Path, probe_of: Callable[[str], Probe]) -> None:
    (reranker,) = System(tmp_path, replicas={**NONE, "reranker": 1}, device="cpu").processes().all
    probe = probe_of(reranker.health_address)
    said = []
    reranker.start()
    try:
        until(lambda: probe.status(LIVENESS) == "SERVING", reranker)
        while not has_logged(reranker, '"serving"'):
            reranker.raise_if_ended()
            said.append((*probe.both(), has_logged(reranker, '"listening"')))
    finally:
        reranker.kill()
    assert ("NOT_SERVING", "SERVING", False) in said, "never probed while it was importing"
    assert {liveness for _, liveness, _ in said} == {"SERVING"}


def test_only_a_loop_that_is_watched_can_be_stuck() -> None:
    now = 0.0
    watch = LoopWatch(60, lambda: now)
    watch.beat()
    now = 1e6
    assert not watch.is_stuck, "loading may take any time"
    watch.begin()
    now += 60
    assert not watch.is_stuck
    now += 1
    assert watch.is_stuck
    watch.beat()
    assert not watch.is_stuck
    watch.end()
    now += 1e6
    assert not watch.is_stuck, "so may draining"


def test_a_free_port_is_taken_for_port_zero(probe_of: Callable[[str], Probe]) -> None:
    health_port = HealthPort(LoopWatch())
    port = health_port.start("127.0.0.1:0")
    try:
        assert probe_of(f"127.0.0.1:{port}").both() == ("NOT_SERVING", "SERVING")
        assert probe_of(f"127.0.0.1:{port}").status("unheard.of") == "NOT_FOUND"
    finally:
        health_port.stop()


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("gateway", {"GATEWAY_MAX_TOP_KK": "3"}, "GATEWAY_MAX_TOP_KK"),
        ("gateway", {"GATEWAY_MAX_TOP_K": "three"}, "GATEWAY_MAX_TOP_K"),
        ("gateway", {"GATEWAY_HEALTH_ADDRESS": TAKEN}, "health_address"),
        ("gateway", {"GATEWAY_LISTEN_ADDRESS": TAKEN}, "listen_address"),
        ("gateway", {"GATEWAY_METRICS_ADDRESS": TAKEN}, "metrics_address"),
        ("reranker", {"RERANKER_DEVICE": "cuda:99"}, "cuda:99"),
        ("reranker", {"RERANKER_DEVICE_EXCLUSIVE": "true", "CUDA_VISIBLE_DEVICES": ""}, "resources.limits"),
        ("reranker", {"RERANKER_MODEL": "/absent"}, "/absent"),
    ],
    ids=["unknown", "malformed", "health port", "gRPC port", "metrics port", "device", "no GPU", "model"],
)
def test_the_last_line_of_the_log_says_why_a_process_refuses(
    tmp_path: Path, taken: str, name: str, settings: dict[str, str], named: str
) -> None:
    settings = {variable: taken if value == TAKEN else value for variable, value in settings.items()}
    (process,) = System(tmp_path, replicas={**NONE, name: 1}, settings={name: settings}).processes().all
    process.start()
    try:
        assert process.wait(PATIENCE_S) == 2
    finally:
        process.kill()
    last = json.loads(process.lines[-1])
    assert last["event"] == "refused to start"
    assert named in last["reason"]
    assert len(process.lines[-1]) < 2_048, "Kubernetes keeps so many bytes of it"
