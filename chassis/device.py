"""Which device a process computes on, settled before torch is imported.

The CUDA driver is asked, not NVML: only the driver obeys CUDA_VISIBLE_DEVICES and sees a MIG slice as the
process will.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chassis.config import ConfigError

logger = logging.getLogger(__name__)

MIG_NAME = re.compile(r" MIG (\d+c\.)?\d+g\.\d+gb")
"""How the driver ends the name of a slice of a GPU: `NVIDIA H100 80GB HBM3 MIG 1g.10gb`."""

ADVICE = (
    "give the container one (Kubernetes: resources.limits nvidia.com/gpu: 1, the chart's gpu.count; elsewhere"
    " CUDA_VISIBLE_DEVICES), or set device_exclusive to false"
)


class NoDriver(Exception):
    """There is no CUDA driver to ask, or it refuses. The text says why."""


@dataclass(frozen=True)
class Device:
    """A resolved device. `torch_name` is `cpu` or `cuda:N`; `uuid` and `name` are the GPU's, empty for a CPU.

    A MIG slice has a uuid of its own, `MIG-…`, by which NVML finds the slice and not the GPU around it.
    """

    torch_name: str
    uuid: str = ""
    name: str = ""

    @property
    def is_gpu(self) -> bool:
        return bool(self.uuid)


def resolve(setting: str, exclusive: bool) -> Device:
    """The device that a setting (`cpu`, `cuda:N`, `auto`) means here.

    Raises ConfigError when a named GPU is not visible, or when `exclusive` and not exactly one is.
    """
    named = re.fullmatch(r"cuda:(\d{1,3})", setting)
    if setting not in ("cpu", "auto") and not named:
        raise ConfigError(f"device {setting!r}: expected cpu, auto or cuda:N")
    if setting == "cpu" and not exclusive:
        return Device("cpu")
    gpus, seen = _look()
    if exclusive and len(gpus) != 1:
        raise ConfigError(f"device_exclusive: exactly one GPU must be visible, {seen}; {ADVICE}")
    if named and int(named[1]) >= len(gpus):
        raise ConfigError(f"device {setting}: it is not there, {seen}")
    if setting == "auto" and not gpus:
        logger.info("no GPU", extra={"reason": seen})
    number = int(named[1]) if named else 0
    return gpus[number] if gpus and setting != "cpu" else Device("cpu")


def visible_gpus() -> list[Device]:
    """The GPUs that the CUDA driver shows this process, in its order. Raises NoDriver."""
    try:
        from cuda.bindings import driver
    except ImportError:
        raise NoDriver("cuda-bindings is not installed") from None
    try:
        error, *_ = driver.cuInit(0)
    except RuntimeError:  # the bindings' answer when libcuda is not installed
        raise NoDriver("the CUDA driver's library (libcuda) is not here") from None
    if error != driver.CUresult.CUDA_SUCCESS:
        raise NoDriver(f"the CUDA driver answers {error.name}")
    _, count = driver.cuDeviceGetCount()
    return [_describe(driver, number) for number in range(count)]


def _describe(driver: Any, number: int) -> Device:
    _, handle = driver.cuDeviceGet(number)
    _, raw_name = driver.cuDeviceGetName(128, handle)
    _, uuid = driver.cuDeviceGetUuid(handle)  # of a MIG slice, the slice's own
    name, digits = raw_name.partition(b"\0")[0].decode(), bytes(uuid.bytes).hex()
    prefix = "MIG" if MIG_NAME.search(name) else "GPU"
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return Device(f"cuda:{number}", "-".join((prefix, *parts)), name)


def _look() -> tuple[Sequence[Device], str]:
    """The visible GPUs, and in words what is to be seen."""
    try:
        gpus = visible_gpus()
    except NoDriver as error:
        gpus, seen = [], str(error)
    else:
        listed = ", ".join(f"{gpu.torch_name} {gpu.uuid} ({gpu.name})" for gpu in gpus)
        seen = f"the CUDA driver shows {len(gpus)}: {listed}" if gpus else "the CUDA driver shows none"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return gpus, seen if visible is None else f"{seen} (CUDA_VISIBLE_DEVICES is {visible!r})"


def num_threads(cgroup: Path = Path("/sys/fs/cgroup"), environ: Mapping[str, str] = os.environ) -> int:
    """Threads that computing may use: OMP_NUM_THREADS, else the container's CPU quota, else the CPUs given.

    Both cgroup versions are read (`cpu.max`; `cpu.cfs_quota_us` and `cpu.cfs_period_us`).
    """
    if environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(environ["OMP_NUM_THREADS"]))
    cpus = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    try:
        if (cgroup / "cpu.max").exists():
            limit, period = (cgroup / "cpu.max").read_text().split()
        else:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return int(limit) / int(period) if limit not in ("max", "-1") else None
