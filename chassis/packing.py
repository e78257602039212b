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

import numpy as np
import torch
from numpy.typing import NDArray
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
"""About so many go through ONNX Runtime at once. More make no product of matrices faster on a CPU."""


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
        is_read = np.ones(hidden_states.shape[:2], bool) if attention_mask is None else attention_mask.bool().numpy()
        places, lengths = _places(is_read)
        flat = hidden_states.flatten(0, 1)
        if self.layers is not None:
            states = torch.from_numpy(_through(self.layers, flat.numpy(), places, lengths))
        else:
            assert self.encoder is not None
            row = flat[torch.from_numpy(places)].unsqueeze(0)
            row = self.encoder(row, lengths=lengths.tolist(), **options).last_hidden_state[0]
            states = torch.zeros_like(flat).index_copy_(0, torch.from_numpy(places), row)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states.view_as(hidden_states))


def _places(is_read: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the tokens are among all places of (texts, longest), the shortest texts first; and how long each is."""
    lengths = is_read.sum(1)
    order = lengths.argsort(kind="stable")
    texts, columns = np.nonzero(is_read[order])
    return order[texts] * is_read.shape[1] + columns, lengths[order]


def _through(
    layers: Layers, flat: NDArray[np.float32], places: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The states after the layers, in groups of like lengths: attention in ONNX Runtime pads a group to its longest.

    In numpy, which holds Python's lock: letting go of it for each of a dozen short operations, as torch does, means
    as many waits for an event loop that is busy.
    """
    row, states = flat[places], np.zeros_like(flat)
    ends = lengths.cumsum()
    groups = np.split(lengths, np.flatnonzero(np.diff(ends // GROUP_TOKENS)) + 1)
    start = 0
    for group in groups:
        tokens = slice(start, start := start + int(group.sum()))
        states[places[tokens]] = layers.run(row[tokens], group)
    return states


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
