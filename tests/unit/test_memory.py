"""What a process may still take of memory, by its container and its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis import device
from chassis.device import Device
from chassis.memory import free_bytes, free_bytes_of_host

MIB = 1 << 20


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal:       {64 << 20} kB\nMemFree:          1024 kB\nMemAvailable:   {32 << 10} kB\n")
    return path


def version_2(cgroup: Path, limit: str, used: int = 10 * MIB) -> Path:
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")
    (cgroup / "memory.stat").write_text(f"anon 4096\ninactive_file {4 * MIB}\nactive_file 4096\n")
    return cgroup


def version_1(cgroup: Path, limit: str) -> Path:
    memory = cgroup / "memory"
    memory.mkdir()
    (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (memory / "memory.usage_in_bytes").write_text(f"{10 * MIB}\n")
    (memory / "memory.stat").write_text(f"cache 4096\ninactive_file 0\ntotal_inactive_file {4 * MIB}\n")
    return cgroup


@pytest.mark.parametrize("version", [version_1, version_2])
def test_files_that_are_only_cached_count_as_free(version: object, tmp_path: Path, meminfo: Path) -> None:
    assert callable(version)
    assert free_bytes_of_host(version(tmp_path, str(16 * MIB)), meminfo) == 10 * MIB


@pytest.mark.parametrize("limit", ["max", str(1 << 62)], ids=["none", "beyond the machine"])
def test_no_limit_leaves_what_the_machine_has(limit: str, tmp_path: Path, meminfo: Path) -> None:
    assert free_bytes_of_host(version_2(tmp_path, limit), meminfo) == 32 * MIB


def test_without_any_limit_to_read_it_is_what_the_machine_has(tmp_path: Path, meminfo: Path) -> None:
    assert free_bytes_of_host(tmp_path / "nowhere", meminfo) == 32 * MIB


def test_a_container_over_its_limit_has_nothing_left(tmp_path: Path, meminfo: Path) -> None:
    assert free_bytes_of_host(version_2(tmp_path, str(MIB)), meminfo) == 0


def test_a_process_on_a_cpu_is_told_something_of_this_machine() -> None:
    assert free_bytes(Device("cpu")) > MIB


@pytest.mark.gpu
@pytest.mark.skipif(not device.resolve("auto", exclusive=False).is_gpu, reason="needs a GPU")
def test_what_torch_holds_of_a_gpu_and_does_not_use_is_free() -> None:
    import torch

    gpu = device.resolve("auto", exclusive=False)
    before = free_bytes(gpu)
    taken = torch.zeros(256 * MIB, dtype=torch.uint8, device=gpu.torch_name)
    assert before - free_bytes(gpu) >= 256 * MIB
    del taken
    assert before - free_bytes(gpu) < 256 * MIB
