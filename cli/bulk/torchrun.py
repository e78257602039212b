"""The processes that encode: started by torchrun, watched until they are done, never left behind."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.bulk.failure import BulkFailed
from cli.processes import Process, ProcessFailed

STOP_TIMEOUT_S = 10.0


@dataclass
class Encoding:
    """How far the processes are."""

    made_by: str = ""
    """Digest of their encoder and splitter."""
    refusal: str = ""
    num_passages: int = 0
    num_characters: int = 0
    num_shards: int = 0
    """Shards that were encoded, not found already done."""

    def note(self, line: dict[str, Any]) -> None:
        """One line of theirs."""
        self.made_by = line.get("made_by", self.made_by)
        self.refusal = line.get("refusal", self.refusal)
        self.num_passages += line.get("passages", 0)
        self.num_characters += line.get("characters", 0)
        self.num_shards += bool(line.get("encoded"))


def encode(folder: Path, num_processes: int, num_threads: int, on_progress: Callable[[Encoding], None]) -> Encoding:
    """Encode what the folder's plan names and is not encoded yet. Returns when all of it is.

    Whatever is raised meanwhile ends the processes; what they have finished stays. Raises BulkFailed, ProcessFailed.
    """
    encoding, lock = Encoding(), threading.Lock()

    def on_line(_: str, line: str) -> None:
        with suppress(ValueError), lock:
            told = json.loads(line)
            if isinstance(told, dict):
                encoding.note(told)

    process = Process("build", _command(folder, num_processes), _environment(num_threads), on_line=on_line)
    process.start()
    try:
        while not _has_ended(process):
            with lock:
                on_progress(encoding)
        status = process.wait()
    finally:
        _end(process)
    if encoding.refusal:
        raise BulkFailed("ENCODER_REFUSED", encoding.refusal)
    if status:
        raise ProcessFailed(process, f"ended with status {status}; what is encoded stays, run the same again")
    return encoding


def default_threads(num_processes: int) -> int:
    """Threads of each process, so that together they have this container's CPUs."""
    from chassis.device import num_threads

    return max(1, num_threads() // num_processes)


def _command(folder: Path, num_processes: int) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    return [sys.executable, *torchrun, "-m", "services.retriever.build", str(folder.absolute())]


def _environment(num_threads: int) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, sys.path))
    return os.environ | {"OMP_NUM_THREADS": str(num_threads), "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def _has_ended(process: Process) -> bool:
    try:
        process.wait(0.2)
    except TimeoutError:
        return False
    return True


def _end(process: Process) -> None:
    """torchrun, told to end, ends its processes; killed, it takes them with it."""
    if process.is_running:
        process.terminate()
        with suppress(TimeoutError):
            process.wait(STOP_TIMEOUT_S)
    process.kill()
