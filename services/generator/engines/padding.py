"""Rows of token ids as tensors. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence


def pad(rows: Sequence[Sequence[int]], device: torch.device, padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows, padded on the right, and the mask that is 1 where there is a token: (rows, longest), int64."""
    tensors = [torch.tensor(row) for row in rows]
    token_ids = pad_sequence(tensors, batch_first=True, padding_value=padding)
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return token_ids.to(device), mask.to(device)
