"""How much memory this process may still take, on its device or in its container."""

from __future__ import annotations

from pathlib import Path

from chassis.device import Device

CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def free_bytes(device: Device) -> int:
    """Bytes that computing on `device` may still take. Imports torch for a GPU."""
    return free_bytes_of_gpu(device.torch_name) if device.is_gpu else free_bytes_of_host()


def free_bytes_of_gpu(torch_name: str) -> int:
    """What the driver has left, and what torch has taken and does not use."""
    import torch

    free, _ = torch.cuda.mem_get_info(torch_name)
    return int(free + torch.cuda.memory_reserved(torch_name) - torch.cuda.memory_allocated(torch_name))


def free_bytes_of_host(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """What the container's limit leaves, and never more than the machine has.

    Both cgroup versions are read (`memory.max` and `memory.current`; `memory.limit_in_bytes` and
    `memory.usage_in_bytes`). Files that are cached and not in use count as free, as the kernel and the kubelet have it.
    """
    left = _left_of_limit(cgroup)
    available = _numbers(meminfo)["MemAvailable:"] * 1024
    return available if left is None else max(0, min(left, available))


def _left_of_limit(cgroup: Path) -> int | None:
    """None where there is no limit."""
    try:
        if (cgroup / "memory.max").exists():
            limit, used, cached = cgroup / "memory.max", cgroup / "memory.current", "inactive_file"
        else:
            cgroup /= "memory"
            limit, used = cgroup / "memory.limit_in_bytes", cgroup / "memory.usage_in_bytes"
            cached = "total_inactive_file"
        if limit.read_text().strip() == "max":
            return None
        return int(limit.read_text()) - int(used.read_text()) + _numbers(cgroup / "memory.stat")[cached]
    except (OSError, ValueError, KeyError):
        return None


def _numbers(path: Path) -> dict[str, int]:
    """The first number of each line, by what stands before it."""
    words = (line.split() for line in path.read_text().splitlines())
    return {name: int(number) for name, number, *_ in words}
