"""The modules with which a decoder attends to its prompt. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAMES = {"EncDecAttention": ("k", "v", "key_value_proj_dim"), "encoder_attn": ("k_proj", "v_proj", "head_dim")}
"""How T5 and kin, and BART and kin, call the attention to a prompt, its layers of keys and of values, and the
dimension of a head."""


@dataclass(frozen=True)
class CrossAttention:
    """What a layer of a decoder sees a prompt by."""

    keys: Any
    values: Any
    """Linear layers."""
    head_dimension: int

    def keys_and_values(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the encoder's states, shape (rows, tokens, width): both (rows, heads, tokens, dimension of a head)."""
        return self._by_head(self.keys(states)), self._by_head(self.values(states))

    def _by_head(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], -1, self.head_dimension).transpose(1, 2)


def cross_attentions(model: PreTrainedModel) -> list[CrossAttention]:
    """Those of a model whose positions are known, first layer first."""
    found = []
    for name, module in model.get_decoder().named_modules():
        if names := NAMES.get(name.rpartition(".")[2]):
            keys, values, head_dimension = (getattr(module, one) for one in names)
            found.append(CrossAttention(keys, values, head_dimension))
    assert found, f"{model.config.model_type} calls its attention to prompts otherwise"
    return found
