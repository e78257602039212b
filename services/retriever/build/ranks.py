"""The processes that torchrun starts: which one this is, on which device, and when all are done. Imports torch."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chassis.config import ConfigError
from chassis.device import Device, resolve

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Rank:
    """One of `world_size` processes, `local_rank` on its machine."""

    rank: int
    local_rank: int
    world_size: int

    @classmethod
    def here(cls) -> Rank:
        """As torchrun's environment tells; the only one without torchrun."""
        return cls(*(int(os.environ.get(name, default)) for name, default in _VARIABLES))


_VARIABLES = (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))


def end_with_parent() -> None:
    """A killed torchrun takes this process with it: it starts each in a session of its own."""
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def device_of(setting: str, rank: Rank) -> Device:
    """The setting's device, of several processes a GPU each where there is one. Raises ConfigError."""
    device = resolve(setting, exclusive=False)
    if not device.is_gpu or rank.world_size == 1:
        return device
    try:
        return resolve(f"cuda:{rank.local_rank}", exclusive=False)
    except ConfigError as error:
        raise ConfigError(f"each of {rank.world_size} processes needs a GPU of its own: {error}") from error


@contextmanager
def together(device: Device, rank: Rank) -> Iterator[Callable[[], None]]:
    """Gives a barrier: over NCCL between GPUs, else over gloo. All ranks leave the block when the last one does."""
    if rank.world_size == 1:
        yield lambda: None
        return
    import torch

    def barrier() -> None:
        torch.distributed.barrier()

    if device.is_gpu:
        torch.cuda.set_device(device.torch_name)
        torch.distributed.init_process_group("nccl", device_id=torch.device(device.torch_name))
    else:
        torch.distributed.init_process_group("gloo")
    try:
        yield barrier
        barrier()
    finally:
        torch.distributed.destroy_process_group()
