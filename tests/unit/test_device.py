"""A device is settled before torch is there, and a missing GPU is never a silent CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis import device
from chassis.config import ConfigError
from chassis.device import Device

GPUS = device.visible_gpus()


def test_cpu_is_always_there() -> None:
    assert device.resolve("cpu", exclusive=False) == Device("cpu")


@pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert device.resolve("auto", exclusive=False) == Device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="needs a GPU")
def test_auto_is_the_first_gpu_where_there_is_one() -> None:
    assert device.resolve("auto", exclusive=False) == GPUS[0]


def test_a_named_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda:99"):
        device.resolve("cuda:99", exclusive=False)


@pytest.mark.skipif(len(GPUS) == 1, reason="this machine has exactly one GPU")
def test_exclusive_means_exactly_one_visible_gpu() -> None:
    with pytest.raises(ConfigError, match="exactly one GPU"):
        device.resolve("auto", exclusive=True)


@pytest.mark.parametrize("setting", ["gpu", "cuda", "cuda:-1", "cuda:x", "", "CPU"])
def test_a_setting_that_names_no_device_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="expected cpu, auto or cuda:N"):
        device.resolve(setting, exclusive=False)


def test_resolving_imports_no_torch() -> None:
    program = "import sys; from chassis import device; device.resolve('auto', False); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ})


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_threads_follow_the_quota_of_the_container(tmp_path: Path, files: dict[str, str], threads: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    cpus = len(os.sched_getaffinity(0))
    assert device.num_threads(tmp_path, {}) == (cpus if threads is None else min(cpus, threads))


def test_an_explicit_number_of_threads_is_obeyed(tmp_path: Path) -> None:
    assert device.num_threads(tmp_path, {"OMP_NUM_THREADS": "3"}) == 3
