"""Rows of token ids as tensors, padded on the right. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence


def pad(rows: Sequence[Sequence[int]], device: torch.device, padding: int = 0) -> torch.Tensor:
    """Shape (rows, longest), int64."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=padding).to(device)


def mask(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    """1 where there is a token, shape (rows, longest), int64."""
    columns = torch.arange(max(lengths), device=device)
    return (columns < torch.tensor(lengths, device=device)[:, None]).long()
