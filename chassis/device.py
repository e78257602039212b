"""Which device a process computes on, settled before torch is imported.

The CUDA driver is asked, not NVML: only the driver obeys CUDA_VISIBLE_DEVICES and sees a MIG slice as the
process will.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chassis.config import ConfigError


@dataclass(frozen=True)
class Device:
    """A resolved device. `torch_name` is `cpu` or `cuda:N`; `uuid` is the GPU's, empty for a CPU."""

    torch_name: str
    uuid: str = ""

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
    gpus = visible_gpus() if setting != "cpu" or exclusive else []
    if exclusive and len(gpus) != 1:
        raise ConfigError(f"device_exclusive: exactly one GPU must be visible, the CUDA driver shows {len(gpus)}")
    if named:
        if int(named[1]) >= len(gpus):
            raise ConfigError(f"device {setting}: the CUDA driver shows {len(gpus)} GPUs; it is not there")
        return gpus[int(named[1])]
    return gpus[0] if setting == "auto" and gpus else Device("cpu")


def visible_gpus() -> list[Device]:
    """The GPUs that the CUDA driver shows this process, in its order. Empty without a driver."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return []
    try:
        error, *_ = driver.cuInit(0)
    except RuntimeError:  # the bindings' answer when libcuda is not installed
        return []
    if error != driver.CUresult.CUDA_SUCCESS:
        return []
    _, count = driver.cuDeviceGetCount()
    return [Device(f"cuda:{number}", _uuid(driver.cuDeviceGet(number)[1])) for number in range(count)]


def _uuid(handle: object) -> str:
    from cuda.bindings import driver

    _, uuid = driver.cuDeviceGetUuid(handle)
    digits = bytes(uuid.bytes).hex()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


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
