"""Runs text encoders of the BERT family on a CPU without the padding of their batches. Imports torch.

Texts of a batch are padded to its longest, and a padded place costs as much as a token. Here the tokens of all texts
stand in one row while the layers run: linear layers, norms and activations do not mix tokens, and attention, which
does, gets each text by itself. Embeddings come before and pooling after: both see the padded batch.

In float32 the layers run in ONNX Runtime (chassis/layers), else they are transformers' own with another attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import flash_attention_mask
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bert.modeling_bert import BertEncoder
from transformers.models.camembert.modeling_camembert import CamembertEncoder
from transformers.models.electra.modeling_electra import ElectraEncoder
from transformers.models.roberta.modeling_roberta import RobertaEncoder
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEncoder

from chassis.layers import Layers, is_expressible

ENCODERS = (BertEncoder, CamembertEncoder, ElectraEncoder, RobertaEncoder, XLMRobertaEncoder)
"""Those whose layers see tokens and mask only: positions are added before them. Others run as they are."""

ATTENTION = "trivium-packed"

GROUP_TOKENS = 512
"""About so many go through the layers at once. More make no product of matrices faster on a CPU."""


def pack(model: PreTrainedModel) -> bool:
    """Let the encoders in `model` run without padding from now on. False where it has none that is known."""
    packable = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, ENCODERS) and not child.config.is_decoder
    ]
    for parent, name, encoder in packable:
        encoder.config._attn_implementation = ATTENTION
        setattr(parent, name, PackedEncoder(encoder))
    return bool(packable)


class PackedEncoder(torch.nn.Module):
    """An encoder's layers, given the tokens of all texts in one row."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        is_float32 = next(encoder.parameters()).dtype == torch.float32
        self.layers = Layers(encoder) if is_float32 and is_expressible(encoder) else None
        self.encoder = encoder if self.layers is None else None

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **options: Any) -> Any:
        """States of (texts, longest, dimension) as the encoder gives them, zero where there is padding.

        `attention_mask` is (texts, longest), or None where nothing is padded.
        """
        num_texts, longest, _ = hidden_states.shape
        if attention_mask is None:
            row = self._run(hidden_states.flatten(0, 1), [longest] * num_texts, options)
            return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=row.view_as(hidden_states))
        is_read = attention_mask.bool()
        lengths = is_read.sum(1)
        states = torch.zeros_like(hidden_states)
        for texts in _near_lengths(lengths):
            row = self._run(hidden_states[texts][is_read[texts]], lengths[texts].tolist(), options)
            part = torch.zeros_like(states[texts])
            part[is_read[texts]] = row
            states[texts] = part
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states)

    def _run(self, row: torch.Tensor, lengths: Sequence[int], options: dict[str, Any]) -> torch.Tensor:
        if self.layers is not None:
            return self.layers.run(row, lengths)
        assert self.encoder is not None
        states: torch.Tensor = self.encoder(row.unsqueeze(0), lengths=lengths, **options).last_hidden_state[0]
        return states


def _near_lengths(lengths: torch.Tensor) -> list[torch.Tensor]:
    """The texts, by number, in groups of like lengths: attention in ONNX Runtime pads a group to its longest."""
    order = lengths.argsort()
    ends = lengths[order].cumsum(0) // GROUP_TOKENS
    return [texts for texts in torch.split(order, torch.bincount(ends).tolist()) if len(texts)]


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    lengths: Sequence[int],
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each text to itself. Every tensor is (1, heads, tokens, dimension of a head).

    `lengths` cuts the one row into texts. Returns (1, tokens, heads, dimension of a head).
    """
    parts, start = [], 0
    for length, group in groupby(lengths):
        num_texts = len(list(group))
        tokens = slice(start, start + num_texts * length)
        queries, keys, values = (
            tensor[0, :, tokens].transpose(0, 1).reshape(num_texts, length, *tensor.shape[1::2]).transpose(1, 2)
            for tensor in (query, key, value)
        )
        attended = scaled_dot_product_attention(queries, keys, values, scale=scaling)
        parts.append(attended.transpose(1, 2).flatten(0, 1))
        start = tokens.stop
    return torch.cat(parts).unsqueeze(0), None


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, flash_attention_mask)
