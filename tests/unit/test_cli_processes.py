"""Child processes are started together, watched until they serve, and never left behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from cli.processes import Process, Processes, ProcessFailed
from cli.system import System, free_ports
from tests.waiting import wait_until

PATIENCE_S = 60
"""For what a slow machine does in the end. Less than any bound whose work is tested."""

SERVE = """
import signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
address, manner = sys.argv[1:]
server = grpc.server(ThreadPoolExecutor(2))
servicer = health.HealthServicer()
servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
server.add_insecure_port(address)
server.start()
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: manner == "stubborn" or stopping.set())
print("listening", flush=True)
if manner != "never":
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
while not stopping.wait(0.05):
    pass
print("drained", flush=True)
"""


def child(name: str, manner: str = "good", log_path: Path | None = None) -> Process:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-c", SERVE, address, manner]
    return Process(name, command, dict(os.environ), health_address=address, log_path=log_path)


def dying(name: str, words: str) -> Process:
    command = [sys.executable, "-c", f"print({words!r}); exit(3)"]
    return Process(name, command, dict(os.environ), health_address="127.0.0.1:1")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_inside_the_context_all_serve_and_after_it_none_is_left() -> None:
    processes = Processes([child("one")], [child("two-1"), child("two-2")])
    with processes:
        assert [process.is_running for process in processes.all] == [True] * 3
        assert [process.name for process in processes.named("two")] == ["two-1", "two-2"]
    assert all(is_gone(process.pid) for process in processes.all)
    assert [process.lines[-1] for process in processes.all] == ["drained"] * 3


def test_a_process_that_dies_while_starting_is_reported_at_once_with_its_last_words() -> None:
    waiting = child("slow", "never")
    began = time.monotonic()
    with (
        pytest.raises(ProcessFailed, match=r"(?s)broken ended with status 3.*no such model"),
        Processes([waiting, dying("broken", "no such model")]),
    ):
        pass
    assert time.monotonic() - began < PATIENCE_S
    assert is_gone(waiting.pid)


def test_of_several_processes_the_one_that_does_not_serve_is_reported_after_the_timeout() -> None:
    good, mute = child("good"), child("mute", "never")
    processes = Processes([good, mute])
    try:
        for process in processes.all:
            process.start()
        wait_until(lambda: good.is_serving() and "listening" in mute.lines)
        with pytest.raises(ProcessFailed, match=r"(?s)mute does not serve in time.*listening"):
            processes.wait_until_serving(5)
    finally:
        processes.kill()


def test_when_one_does_not_serve_in_time_none_is_left_behind() -> None:
    processes = Processes([child("good"), child("mute", "never")], start_timeout_s=0.5)
    with pytest.raises(ProcessFailed, match="does not serve in time"), processes:
        pass
    assert all(is_gone(process.pid) for process in processes.all)


def test_a_command_that_does_not_exist_leaves_no_other_behind() -> None:
    good = child("good")
    with pytest.raises(FileNotFoundError), Processes([good, Process("absent", ["/absent"], {})]):
        pass
    assert is_gone(good.pid)


def test_an_exception_inside_the_context_leaves_none_behind() -> None:
    process = child("one")
    with pytest.raises(KeyboardInterrupt), Processes([process]):
        raise KeyboardInterrupt
    assert is_gone(process.pid)


def test_a_process_that_ignores_sigterm_is_killed_after_the_bound() -> None:
    process = child("one", "stubborn")
    with Processes([process], stop_timeout_s=0.5):
        began = time.monotonic()
    assert process.wait() == -signal.SIGKILL
    assert 0.4 < time.monotonic() - began < 20


def test_a_second_interrupt_while_draining_kills_at_once() -> None:
    process = child("one", "stubborn")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), Processes([process], stop_timeout_s=60):
            signal.setitimer(signal.ITIMER_REAL, 0.3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert process.wait() == -signal.SIGKILL


def test_the_first_group_has_drained_before_the_next_is_asked_to() -> None:
    gateway, stage = child("gateway"), child("stage")
    with Processes([gateway], [stage]) as processes:
        gateway.terminate()
        gateway.wait(PATIENCE_S)
        assert stage.is_running
        processes.stop()
    assert stage.wait() == 0


def test_a_killed_process_can_be_started_again_on_its_address() -> None:
    process = child("one")
    with Processes([process]) as processes:
        first = process.pid
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.start()
        processes.wait_until_serving(PATIENCE_S)
        assert process.pid != first
        assert process.is_serving()


def test_a_suspended_process_is_killed_too() -> None:
    process = child("one")
    with Processes([process], stop_timeout_s=0.5):
        process.send(signal.SIGSTOP)
    assert is_gone(process.pid)


def test_every_line_reaches_the_log_file_and_the_listener(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []
    process = Process(
        "one",
        [sys.executable, "-c", "import sys; print('out'); sys.stdout.flush(); sys.stderr.write('err')"],
        {},
        log_path=tmp_path / "one.log",
        on_line=lambda name, line: heard.append((name, line)),
    )
    process.start()
    assert process.wait(PATIENCE_S) == 0
    assert heard == [("one", "out"), ("one", "err")]
    assert (tmp_path / "one.log").read_text() == "out\nerr"


def environments(system: System) -> dict[str, dict[str, str]]:
    return {process.name: process.environment for process in system.processes().all}


def test_the_gateway_is_given_every_replica_of_a_stage(tmp_path: Path) -> None:
    processes = System(tmp_path, replicas={"reranker": 2}).processes()
    gateway = processes.named("gateway")[0].environment
    first, second = (process.address for process in processes.named("reranker"))
    assert gateway["GATEWAY_RERANKER_ADDRESS"] == f"ipv4:{first},{second}"
    assert gateway["GATEWAY_GENERATOR_ADDRESS"] == processes.address_of("generator")


def test_given_ports_follow_the_base(tmp_path: Path) -> None:
    processes = System(tmp_path, replicas={"generator": 2}, port_base=7000).processes()
    assert {process.name: addresses(process) for process in processes.all} == {
        "gateway": ("127.0.0.1:7000", "127.0.0.1:7100", "127.0.0.1:7200"),
        "retriever": ("127.0.0.1:7001", "127.0.0.1:7101", "127.0.0.1:7201"),
        "indexer": ("127.0.0.1:7002", "127.0.0.1:7102", "127.0.0.1:7202"),
        "reranker": ("127.0.0.1:7003", "127.0.0.1:7103", "127.0.0.1:7203"),
        "generator-1": ("127.0.0.1:7004", "127.0.0.1:7104", "127.0.0.1:7204"),
        "generator-2": ("127.0.0.1:7014", "127.0.0.1:7114", "127.0.0.1:7214"),
    }


def addresses(process: Process) -> tuple[str, str, str]:
    return process.address, process.metrics_address, process.health_address


def test_free_ports_are_all_different(tmp_path: Path) -> None:
    processes = System(tmp_path).processes().all
    assert len({address for process in processes for address in addresses(process)}) == 15


def test_settings_inherited_from_the_shell_never_reach_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RERANKER_MODEL", "stray")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    environment = environments(System(tmp_path))["reranker"]
    assert "RERANKER_MODEL" not in environment
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_replicas_own_settings_win_over_its_processs(tmp_path: Path) -> None:
    settings = {"reranker": {"RERANKER_DEVICE": "cpu"}, "reranker-2": {"RERANKER_DEVICE": "cuda:1"}}
    system = System(tmp_path, replicas={"reranker": 2, "generator": 0}, settings=settings, device="auto")
    devices = {name: one.get("RERANKER_DEVICE") for name, one in environments(system).items()}
    assert devices["reranker-1"] == "cpu"
    assert devices["reranker-2"] == "cuda:1"
    assert "generator" not in devices


def test_both_owners_of_collections_share_one_folder(tmp_path: Path) -> None:
    environment = environments(System(tmp_path / "collections"))
    assert environment["retriever"]["RETRIEVER_COLLECTIONS_PATH"] == str(tmp_path / "collections")
    assert environment["indexer"]["INDEXER_COLLECTIONS_PATH"] == str(tmp_path / "collections")
