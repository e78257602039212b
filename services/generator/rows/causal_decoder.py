"""Rows of a decoder-only model: Llama, GPT-2 and kin. Imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from services.generator.rows.memory import Memory, gather
from services.generator.rows.row import Row, newest, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CausalDecoder:
    """The modules are the model's own; only masks and positions are ours."""

    scores_what_it_reads = True

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        takes = inspect.signature(model.forward).parameters
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def read(self, rows: Sequence[Row]) -> tuple[Memory, torch.Tensor]:
        memory = Memory([row.token_ids.shape[1] for row in rows], self._model.device)
        return memory, self._scores(memory, whole(rows))

    def go_on(self, memory: Memory, rows: Sequence[Row]) -> torch.Tensor:
        return self._scores(memory, newest(rows))

    def gather(self, parts: Sequence[tuple[Memory, Sequence[int]]]) -> Memory:
        return gather(parts)

    def _scores(self, memory: Memory, token_ids: torch.Tensor) -> torch.Tensor:
        """One pass."""
        mask, positions = memory.layout()
        outputs = self._model(
            input_ids=token_ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=memory.cache,
            use_cache=True,
            **self._options,
        )
        return outputs.logits[:, -1].float()  # type: ignore[no-any-return]
