"""In which numbers a model computes. Imports torch.

bfloat16 halves the weights and, where it is multiplied natively, more than doubles the speed. Whatever a model
computes in, float32 leaves it.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from chassis.config import Dtype
from chassis.cpu import Cpu, this_cpu


def resolve(setting: Dtype, device: str, cpu: Cpu | None = None) -> torch.dtype:
    """The dtype that a setting means on a device (`cpu`, `cuda:N`). `cpu` is this machine's unless given."""
    if setting != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[setting]
    if device == "cpu":
        is_native = (cpu or this_cpu()).multiplies_bfloat16
    else:
        with torch.cuda.device(device):
            is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if is_native else torch.float32


def compute_in(dtype: torch.dtype, model: PreTrainedModel, called: torch.nn.Module) -> None:
    """Let `model` compute in `dtype` from now on. What `called`, the module around it or itself, returns is float32."""
    if dtype != torch.float32:
        model.to(dtype)
        called.register_forward_hook(_to_float32)


def _to_float32(model: Any, inputs: Any, outputs: Any) -> None:
    for name, tensor in outputs.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            outputs[name] = tensor.float()
