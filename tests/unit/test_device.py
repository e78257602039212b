"""A device is settled before torch is there, and a missing GPU is never a silent CPU."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from cuda.bindings import driver as real_driver
from prometheus_client import generate_latest

from chassis import device
from chassis.config import ConfigError
from chassis.device import Device, NoDriver
from chassis.metrics import Metrics


def gpus_of_this_machine() -> list[Device]:
    try:
        return device.visible_gpus()
    except NoDriver:
        return []


GPUS = gpus_of_this_machine()

H100 = (b"NVIDIA H100 80GB HBM3", bytes(range(16)))
SLICE = (b"NVIDIA H100 80GB HBM3 MIG 1g.10gb", bytes(range(16, 32)))
H100_UUID = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
SLICE_UUID = "MIG-10111213-1415-1617-1819-1a1b1c1d1e1f"


@dataclass
class ScriptedDriver:
    """Answers as the module cuda.bindings.driver does on a machine with these GPUs (name and uuid)."""

    gpus: tuple[tuple[bytes, bytes], ...] = ()
    initialised: Any = real_driver.CUresult.CUDA_SUCCESS
    CUresult = real_driver.CUresult
    OK = real_driver.CUresult.CUDA_SUCCESS

    def cuInit(self, flags: int) -> tuple[Any, ...]:
        return (self.initialised,)

    def cuDeviceGetCount(self) -> tuple[Any, ...]:
        return self.OK, len(self.gpus)

    def cuDeviceGet(self, number: int) -> tuple[Any, ...]:
        return self.OK, number

    def cuDeviceGetName(self, length: int, handle: int) -> tuple[Any, ...]:
        return self.OK, self.gpus[handle][0].ljust(length, b"\0")

    def cuDeviceGetUuid(self, handle: int) -> tuple[Any, ...]:
        return self.OK, SimpleNamespace(bytes=self.gpus[handle][1])


def install(monkeypatch: pytest.MonkeyPatch, driver: ScriptedDriver) -> None:
    monkeypatch.setattr("cuda.bindings.driver", driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


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


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (H100, Device("cuda:0", H100_UUID, "NVIDIA H100 80GB HBM3")),
        (SLICE, Device("cuda:0", SLICE_UUID, "NVIDIA H100 80GB HBM3 MIG 1g.10gb")),
    ],
    ids=["a whole GPU", "a MIG slice"],
)
@pytest.mark.parametrize("setting", ["auto", "cuda:0"])
def test_the_one_gpu_that_was_granted_is_taken(
    monkeypatch: pytest.MonkeyPatch, setting: str, gpu: tuple[bytes, bytes], expected: Device
) -> None:
    install(monkeypatch, ScriptedDriver((gpu,)))
    assert device.resolve(setting, exclusive=True) == expected


def test_each_gpu_can_be_named_where_several_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ScriptedDriver((H100, SLICE)))
    assert device.resolve("cuda:1", exclusive=False).uuid == SLICE_UUID


@pytest.mark.parametrize("setting", ["auto", "cuda:0", "cpu"])
def test_exclusive_refuses_several_and_names_them(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    install(monkeypatch, ScriptedDriver((H100, SLICE)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError) as refused:
        device.resolve(setting, exclusive=True)
    for told in ("exactly one GPU", "shows 2", H100_UUID, SLICE_UUID, "'0,1'", "resources.limits", "gpu.count"):
        assert told in str(refused.value)


NO_DEVICE = real_driver.CUresult.CUDA_ERROR_NO_DEVICE


@pytest.mark.parametrize(
    ("driver", "told"),
    [
        (ScriptedDriver(), "the CUDA driver shows none"),
        (ScriptedDriver(initialised=NO_DEVICE), "the CUDA driver answers CUDA_ERROR_NO_DEVICE"),
    ],
    ids=["an empty list", "a driver that refuses"],
)
@pytest.mark.parametrize("exclusive", [True, False])
def test_no_gpu_is_refused_with_what_was_seen(
    monkeypatch: pytest.MonkeyPatch, driver: ScriptedDriver, told: str, exclusive: bool
) -> None:
    install(monkeypatch, driver)
    with pytest.raises(ConfigError, match=told) as refused:
        device.resolve("cuda:0", exclusive)
    assert ("resources.limits nvidia.com/gpu: 1" in str(refused.value)) == exclusive


@pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
def test_exclusive_is_refused_without_a_driver() -> None:
    with pytest.raises(ConfigError, match=r"exactly one GPU must be visible, the CUDA driver"):
        device.resolve("auto", exclusive=True)


def shown(chosen: Device) -> str:
    metrics = Metrics()
    metrics.show_device(chosen)
    return generate_latest(metrics.registry).decode()


def test_the_device_is_a_metric() -> None:
    assert 'trivium_device_info{device="cpu",name="",uuid=""} 1.0' in shown(Device("cpu"))


@pytest.mark.skipif(bool(GPUS), reason="this machine has NVML")
def test_a_device_that_nvml_does_not_know_is_shown_without_readings(caplog: pytest.LogCaptureFixture) -> None:
    text = shown(Device("cuda:0", SLICE_UUID, "a slice"))
    assert f'trivium_device_info{{device="cuda:0",name="a slice",uuid="{SLICE_UUID}"}} 1.0' in text
    assert "trivium_device_memory" not in text
    assert "NVML does not know the device" in caplog.text


def test_what_nvml_cannot_read_of_a_slice_is_left_out_and_a_lost_gpu_reads_nan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    asked: list[str] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", asked.append)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda _: SimpleNamespace(used=1, total=4))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", fail)
    metrics = Metrics()
    metrics.show_device(Device("cuda:0", SLICE_UUID, "a slice"))
    text = generate_latest(metrics.registry).decode()
    assert asked == [SLICE_UUID]
    assert f'trivium_device_memory_total_bytes{{uuid="{SLICE_UUID}"}} 4.0' in text
    assert "trivium_device_utilisation_ratio" not in text
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", fail)
    text = generate_latest(metrics.registry).decode()
    assert f'trivium_device_memory_used_bytes{{uuid="{SLICE_UUID}"}} NaN' in text


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="needs a GPU")
def test_the_real_driver_names_the_gpu_that_nvml_and_torch_know() -> None:
    (gpu, *_) = GPUS
    program = "import torch, json; p = torch.cuda.get_device_properties(0); print(json.dumps([p.name, str(p.uuid)]))"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert json.loads(told.stdout) == [gpu.name, gpu.uuid.partition("-")[2]]
    text = shown(gpu)
    assert f'trivium_device_info{{device="cuda:0",name="{gpu.name}",uuid="{gpu.uuid}"}} 1.0' in text
    assert f'trivium_device_memory_total_bytes{{uuid="{gpu.uuid}"}}' in text
    if len(GPUS) == 1:
        assert device.resolve("auto", exclusive=True) == gpu


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
