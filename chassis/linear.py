"""Linear layers on a CPU, multiplied by whichever of torch's two libraries is faster. Imports torch.

By itself torch reads weights as they lie, in float32 with MKL. oneDNN lays them out anew, once, in the order in which
they are read: with few rows, as for one question or one token of each answer, reading is most of the work. Figures:
docs/performance.md.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from chassis.cpu import Cpu, this_cpu

FEW_ROWS = 32
"""Up to so many rows oneDNN is the faster one on any CPU."""

ALL_ROWS = 1 << 62

SLOW_ROWS, PADDED_ROWS = 2, 4
"""One row and two are read slower by oneDNN than four are: they are padded."""

X86_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags of CPUs for which oneDNN has kernels in bfloat16."""


def relay(model: torch.nn.Module, cpu: Cpu | None = None) -> None:
    """Lay out the weights of every linear layer in `model` anew, beside the old ones. Results change by rounding.

    Layers in float32, and in bfloat16 where an x86 CPU multiplies it natively; others stay as they are.
    """
    max_rows_by_dtype = _max_rows_by_dtype(cpu or this_cpu())
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child.weight.dtype in max_rows_by_dtype:
                setattr(parent, name, RelaidLinear(child, max_rows_by_dtype[child.weight.dtype]))


def _max_rows_by_dtype(cpu: Cpu) -> dict[torch.dtype, int]:
    # MKL leaves AVX-512 unused on CPUs not Intel's. In bfloat16 torch's other way is oneDNN too.
    max_rows_by_dtype = {torch.float32: ALL_ROWS if cpu.is_amd_with_avx512 else FEW_ROWS}
    if not X86_BFLOAT16.isdisjoint(cpu.flags):
        max_rows_by_dtype[torch.bfloat16] = ALL_ROWS
    return max_rows_by_dtype


class RelaidLinear(torch.nn.Module):
    """The layer given, for inference, with its weights in oneDNN's order for up to `max_rows` rows."""

    def __init__(self, layer: torch.nn.Linear, max_rows: int) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self._max_rows = max_rows
        self._relaid = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), FEW_ROWS)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        num_rows = rows.numel() // rows.shape[-1]
        if num_rows > self._max_rows:
            return functional.linear(rows, self.weight, self.bias)
        if num_rows > SLOW_ROWS:
            return self._multiply(rows)
        padded = functional.pad(rows.reshape(num_rows, rows.shape[-1]), (0, 0, 0, PADDED_ROWS - num_rows))
        return self._multiply(padded)[:num_rows].view(*rows.shape[:-1], len(self.weight))

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._relaid, self.bias, "none", [], "")
        return product
