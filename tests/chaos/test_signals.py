"""How a process starts, drains and leaves."""

from __future__ import annotations

import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.connection import Refusal, open_channel
from cli.otlp import SpanReceiver
from cli.processes import Process, Processes
from cli.system import System
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, reranker_pb2, reranker_pb2_grpc

pytestmark = [pytest.mark.chaos]

NONE = dict.fromkeys(("gateway", "retriever", "indexer", "reranker", "generator"), 0)


def alone(name: str, folder: Path, otlp_endpoint: str = "", **settings: str) -> Processes:
    """One process without the others, not yet started."""
    return System(
        collections_path=folder,
        replicas={**NONE, name: 1},
        settings={name: {f"{name.upper()}_{key}": value for key, value in settings.items()}},
        otlp_endpoint=otlp_endpoint,
        device="cpu",
    ).processes()


def health(process: Process) -> str | None:
    """What its health service says; None while nobody answers."""
    with open_channel(process.address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def series(process: Process) -> set[str]:
    """The names of the metrics that it shows now."""
    with urllib.request.urlopen(f"http://{process.metrics_address}/metrics", timeout=10) as reply:
        return {line.split()[2] for line in reply.read().decode().splitlines() if line.startswith("# TYPE")}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Process]:
    with alone("gateway", tmp_path, DRAIN_DELAY_S="1.5") as processes:
        yield processes.named("gateway")[0]


def test_a_process_is_not_serving_until_a_real_inference_has_run(tmp_path: Path) -> None:
    processes = alone("reranker", tmp_path)
    (reranker,) = processes.named("reranker")
    reranker.start()
    try:
        seen: list[str] = []
        shown: set[str] = set()
        codes: set[str] = set()
        while not seen or seen[-1] != "SERVING":
            reranker.raise_if_ended()
            status = health(reranker)
            if status == "NOT_SERVING":
                shown = shown or series(reranker)
                with open_channel(reranker.address) as channel, pytest.raises(grpc.RpcError) as raised:
                    reranker_pb2_grpc.RerankerServiceStub(channel).Rerank(reranker_pb2.RerankRequest(), timeout=5)
                codes.add(Refusal.of(raised.value).code)
            if status and status not in seen:
                seen.append(status)
        assert seen == ["NOT_SERVING", "SERVING"]
        assert codes <= {"UNAVAILABLE", "INVALID_ARGUMENT"}  # the last of them may have met a process that serves
        assert "UNAVAILABLE" in codes
        assert shown == series(reranker), "a metric appeared only later"
    finally:
        reranker.kill()


def test_sigterm_drains_not_serving_first_and_leaves_with_zero(gateway: Process) -> None:
    gateway.terminate()
    time.sleep(0.5)
    assert health(gateway) == "NOT_SERVING"
    with open_channel(gateway.address) as channel, pytest.raises(grpc.RpcError) as raised:
        gateway_pb2_grpc.GatewayServiceStub(channel).Answer(gateway_pb2.AnswerRequest(), timeout=5)
    assert Refusal.of(raised.value).code == "INVALID_ARGUMENT", "calls are served until the delay is over"
    assert gateway.wait(10) == 0


def test_an_open_health_watch_does_not_hold_the_drain(gateway: Process) -> None:
    with open_channel(gateway.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        gateway.terminate()
        began = time.monotonic()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert gateway.wait(20) == 0
        assert time.monotonic() - began < 4


def test_a_second_sigterm_quits_at_once(gateway: Process) -> None:
    gateway.terminate()
    time.sleep(0.3)
    began = time.monotonic()
    gateway.terminate()
    assert gateway.wait(10) == 1
    assert time.monotonic() - began < 1


def test_a_process_that_is_still_starting_can_be_stopped(tmp_path: Path) -> None:
    (reranker,) = alone("reranker", tmp_path).named("reranker")
    reranker.start()
    try:
        while health(reranker) is None:
            reranker.raise_if_ended()
        reranker.send(signal.SIGTERM)
        assert reranker.wait(20) == 0
    finally:
        reranker.kill()


def test_what_was_traced_is_exported_before_the_process_leaves(tmp_path: Path) -> None:
    with SpanReceiver() as receiver:
        with alone("gateway", tmp_path, receiver.endpoint, DRAIN_DELAY_S="0") as processes:
            (process,) = processes.named("gateway")
            with open_channel(process.address) as channel, pytest.raises(grpc.RpcError):
                gateway_pb2_grpc.GatewayServiceStub(channel).Answer(gateway_pb2.AnswerRequest(), timeout=5)
            process.terminate()
            assert process.wait(10) == 0
        assert [span.name for span in receiver.spans()] == ["trivium.v1.GatewayService/Answer"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"MAX_TOP_KK": "3"}, "GATEWAY_MAX_TOP_KK"),
        ({"MAX_TOP_K": "three"}, "GATEWAY_MAX_TOP_K"),
        ({"LISTEN_ADDRESS": "192.0.2.1:1"}, "192.0.2.1:1"),
    ],
    ids=["unknown", "malformed", "an address of another machine"],
)
def test_a_wrong_setting_is_a_refusal_to_start_that_names_it(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    (gateway,) = alone("gateway", tmp_path, **settings).named("gateway")
    gateway.start()
    try:
        assert gateway.wait(20) == 2
        assert any("refused to start" in line and named in line for line in gateway.lines)
    finally:
        gateway.kill()


def test_a_gpu_that_is_not_there_is_a_refusal_to_start(tmp_path: Path) -> None:
    system = System(collections_path=tmp_path, replicas={**NONE, "reranker": 1}, device="cuda:99")
    (reranker,) = system.processes().named("reranker")
    reranker.start()
    try:
        assert reranker.wait(20) == 2
        assert any("cuda:99" in line for line in reranker.lines)
    finally:
        reranker.kill()
