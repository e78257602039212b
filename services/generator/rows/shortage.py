"""Which errors say that memory ran out. Imports torch."""

from __future__ import annotations

import torch

TEXTS = (
    "DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""Where PyTorch and CUDA have no class of their own for it, in a RuntimeError."""


def is_shortage(error: Exception) -> bool:
    """Whether the same might succeed with more memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TEXTS)
