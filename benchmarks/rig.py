"""The machine and the software that figures are of, and who runs on which core."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from chassis.cpu import this_cpu

DEVICE_CORE, FRONT_CORE = 0, 1
"""The model's thread has a core to itself; event loops and the client share the other."""

SHOWN_FLAGS = frozenset({"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "bf16", "sve"})
PACKAGES = ("grpcio", "protobuf", "torch", "transformers", "tokenizers", "faiss-cpu", "tantivy", "bm25s", "ctranslate2")


@dataclass(frozen=True)
class Rig:
    """What a figure depends on besides the code."""

    cpu: str
    flags: str
    cores: int
    python: str
    versions: str
    threads: int
    dtype: str


def this_rig(dtype: str) -> Rig:
    """The rig of this process. `dtype` is what the models compute in."""
    cpu = this_cpu()
    return Rig(
        cpu=cpu.name or platform.machine(),
        flags=" ".join(sorted(cpu.flags & SHOWN_FLAGS)),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        threads=1,
        dtype=dtype,
    )


def show(rig: Rig) -> str:
    """The rig in one line."""
    return "; ".join(f"{name} {value}" for name, value in asdict(rig).items())


def pin(core: int) -> None:
    """Keep this process, and those that it starts from now on, on one core; on any where there is only one."""
    available = sorted(os.sched_getaffinity(0) | {DEVICE_CORE})
    os.sched_setaffinity(0, {core if core < (os.cpu_count() or 1) else available[0]})


def pin_threads(pid: int, name: str, core: int) -> int:
    """Move a process's threads of this name to a core. Returns how many there were."""
    pinned = [task for task in _tasks(pid) if (task / "comm").read_text().strip() == name[:15]]
    for task in pinned:
        os.sched_setaffinity(int(task.name), {core if core < (os.cpu_count() or 1) else 0})
    return len(pinned)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def _tasks(pid: int) -> Iterable[Path]:
    return Path(f"/proc/{pid}/task").iterdir()
