"""Child processes that serve gRPC: started together, watched until they serve, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

KEPT_LINES = 2_000
"""How many of its last log lines a process keeps in memory."""
SHOWN_LINES = 20
"""How many of them an error shows."""

START_TIMEOUT_S = 600.0
"""For a process that hangs while it starts. One that ends is reported at once; one that loads may take long."""

_QUICK = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))

OnLine = Callable[[str, str], None]


class ProcessFailed(Exception):
    """A process ended, or did not serve in time. The text ends with its last log lines."""

    def __init__(self, process: Process, text: str) -> None:
        self.process = process
        tail = "\n".join(f"  {line}" for line in list(process.lines)[-SHOWN_LINES:])
        super().__init__(f"{process.name} {text}" + (f"; its last words:\n{tail}" if tail else " without a word"))


class Process:
    """One child in a process group of its own, so that Ctrl-C in the terminal reaches only its parent."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        address: str = "",
        metrics_address: str = "",
        health_address: str = "",
        working_path: Path | None = None,
        log_path: Path | None = None,
        on_line: OnLine | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.metrics_address = metrics_address
        self.health_address = health_address
        self.environment = dict(environment)
        self.log_path = log_path
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        """The last lines of its standard output and error."""
        self._command, self._working_path, self._on_line = list(command), working_path, on_line
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """True from `start` until it ends, however it ends."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it, or start it again on the same address after it has ended."""
        assert not self.is_running, f"{self.name} is running"
        self._child = subprocess.Popen(
            self._command,
            env=self.environment,
            cwd=self._working_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        assert self._child.stdout is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._child.stdout,), name=f"{self.name} log", daemon=True
        )
        self._reader.start()

    def send(self, signal_number: int) -> None:
        """Send the process a signal. Nothing happens when it has ended."""
        if self._child is not None:
            self._child.send_signal(signal_number)

    def terminate(self) -> None:
        """Ask it to drain and leave."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its own children at once, and wait until it is gone."""
        if self._child is None:
            return
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit status once it has ended, negative for a signal. Raises TimeoutError when it has not."""
        assert self._child is not None, f"{self.name} was never started"
        assert self._reader is not None
        try:
            status = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout_s} s") from None
        self._reader.join(timeout=1)  # Its last words; a grandchild may hold the pipe open.
        return status

    def raise_if_ended(self) -> None:
        """Raise ProcessFailed, with its last log lines, unless it is running."""
        if not self.is_running:
            raise ProcessFailed(self, f"ended with status {self.wait()}")

    def is_serving(self) -> bool:
        """True when its health service says so now."""
        with grpc.insecure_channel(self.health_address) as channel:
            return _says_serving(channel)

    def _read(self, output: IO[bytes]) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(output)
            log = stack.enter_context(self.log_path.open("ab", buffering=0)) if self.log_path else None
            for line in output:
                text = line.decode(errors="replace").rstrip("\n")
                self.lines.append(text)
                if log:
                    log.write(line)
                if self._on_line:
                    self._on_line(self.name, text)


class Processes:
    """Several of them, as one context: inside it all serve, after it none is left, whatever happened.

    Leaving drains: SIGTERM to the first group, then to the next, then SIGKILL to what outlives
    `stop_timeout_s`. An exception while draining, a second Ctrl-C too, kills at once.
    """

    def __init__(
        self, *groups: Sequence[Process], start_timeout_s: float = START_TIMEOUT_S, stop_timeout_s: float = 30
    ) -> None:
        self._groups = groups
        self._start_timeout_s, self._stop_timeout_s = start_timeout_s, stop_timeout_s

    @property
    def all(self) -> list[Process]:
        """Every process, in the order of the groups."""
        return [process for group in self._groups for process in group]

    def named(self, name: str) -> list[Process]:
        """The replicas of one process: `reranker` finds `reranker`, or `reranker-1`, `reranker-2` …"""
        return [process for process in self.all if process.name.rpartition("-")[0] == name or process.name == name]

    def address_of(self, name: str) -> str:
        """The gRPC address of a process, the first replica's where there are several."""
        return self.named(name)[0].address

    def __enter__(self) -> Processes:
        try:
            for process in self.all:
                process.start()
            self.wait_until_serving()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_serving(self, timeout_s: float | None = None) -> None:
        """Return once every process serves. Raises ProcessFailed as soon as one ends, or at the timeout."""
        give_up_at = time.monotonic() + (self._start_timeout_s if timeout_s is None else timeout_s)
        with contextlib.ExitStack() as stack:
            waiting = {
                process: stack.enter_context(grpc.insecure_channel(process.health_address, options=_QUICK))
                for process in self.all
            }
            while waiting:
                for process in self.all:
                    process.raise_if_ended()
                waiting = {p: channel for p, channel in waiting.items() if not _says_serving(channel)}
                if waiting and time.monotonic() > give_up_at:
                    raise ProcessFailed(next(iter(waiting)), "does not serve in time")
                time.sleep(0.05)

    def stop(self) -> None:
        """Drain them group by group. When it returns, or raises, none is running."""
        try:
            give_up_at = time.monotonic() + self._stop_timeout_s
            for group in self._groups:
                started = [process for process in group if process.is_running]
                for process in started:
                    process.terminate()
                for process in started:
                    with contextlib.suppress(TimeoutError):
                        process.wait(max(0.0, give_up_at - time.monotonic()))
        finally:
            self.kill()

    def kill(self) -> None:
        """End them all at once."""
        for process in self.all:
            process.kill()


def _says_serving(channel: grpc.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
    except grpc.RpcError:
        return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
