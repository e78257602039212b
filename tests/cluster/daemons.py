"""The cluster's own processes: each in its network, known by a pid file, ended by that pid and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.cluster.layout import LOGS, NETWORK, STATE

_started: list[subprocess.Popen[bytes]] = []
"""Held, because a handle that is let go warns of its running process. Whoever ends one knows it by its pid file."""


def inside(*command: str | Path) -> list[str]:
    """The command, run in the cluster's network. (`ip netns exec` would hide the cgroups.)"""
    return ["nsenter", f"--net=/run/netns/{NETWORK}", *map(str, command)]


def run(*command: str | Path) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def start(name: str, program: Path, *arguments: str | Path, search_path: Sequence[Path] = ()) -> None:
    """Start a process in the cluster's network. Its log is `log/NAME.log`."""
    path = ":".join([*map(str, search_path), "/usr/sbin", os.environ["PATH"]])
    with (LOGS / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            inside(program, *arguments),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=STATE,
            env={**os.environ, "PATH": path},
        )
    _started.append(process)
    _pid_file(name).write_text(f"{process.pid} {program}")


def stop(name: str, patience_s: float = 15) -> None:
    """End a process that `start` started, if it still runs."""
    if not _pid_file(name).exists():
        return
    number, program = _pid_file(name).read_text().split(maxsplit=1)
    for sign, seconds in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        if _runs(int(number), program):
            os.kill(int(number), sign)
            _poll(lambda: not _runs(int(number), program), seconds)
    _pid_file(name).unlink()


def wait_for(what: str, *command: str | Path, seconds: float = 60) -> None:
    """Until the command succeeds."""

    def succeeds() -> bool:
        return subprocess.run([str(part) for part in command], capture_output=True).returncode == 0

    if not _poll(succeeds, seconds):
        raise TimeoutError(f"{what} did not come up in {seconds} s: see {LOGS}")


def _poll(condition: Callable[[], bool], seconds: float) -> bool:
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.1)
    return True


def _pid_file(name: str) -> Path:
    return STATE / f"{name}.pid"


def _runs(pid: int, program: str) -> bool:
    """Whether this pid still is that program. A child that ended is taken note of."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with suppress(FileNotFoundError, ProcessLookupError):
        return program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
