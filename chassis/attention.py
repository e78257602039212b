"""Attention of one token to those before it, on a CPU. Imports torch.

torch's own kernel walks over the keys in blocks made for many queries. With one query for each row, which is every
step of an answer, two products of matrices take a quarter of its time in bfloat16 and two thirds in float32.
Figures: docs/performance.md.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ONE_QUERY = "trivium-one-query"


def attend_by_products(model: PreTrainedModel) -> None:
    """Let `model`, where it attends by torch's kernel, do so only with more than one query a row."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ONE_QUERY)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Queries (rows, heads, tokens, dimension); keys and values (rows, the same or fewer heads, columns, dimension).

    `attention_mask` is boolean, True where there is something to see, or added to the scores, as `position_bias` is;
    both (rows or 1, heads or 1, tokens, columns). Returns (rows, tokens, heads, dimension).
    """
    if query.shape[2] != 1:
        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, position_bias=position_bias, **options
        )
        return attended
    num_rows, num_heads, _, dimension = query.shape
    scale = dimension**-0.5 if scaling is None else scaling
    # Heads that share keys stand where the queries of one head would.
    queries = (query * scale).view(num_rows, key.shape[1], -1, dimension)
    scores = torch.matmul(queries, key.transpose(2, 3)).view(num_rows, num_heads, 1, -1)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = _masked(scores, attention_mask)
    weights = scores.softmax(-1).view(num_rows, key.shape[1], -1, key.shape[2])
    return torch.matmul(weights, value).view(num_rows, 1, num_heads, -1), None


def _masked(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


AttentionInterface.register(ONE_QUERY, attend)
AttentionMaskInterface.register(ONE_QUERY, sdpa_mask)
