"""Rows of an encoder-decoder: BART, T5 and kin. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from transformers.modeling_outputs import BaseModelOutput

from services.generator.memory import Memory, gather
from services.generator.positions import Differences, Positions
from services.generator.row import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EncoderDecoder:
    """The modules are the model's own; only masks and positions are ours."""

    def __init__(self, model: PreTrainedModel, positions: Positions | Differences) -> None:
        self._model = model
        self._positions = positions

    def read(self, rows: Sequence[Row]) -> tuple[Memory, torch.Tensor]:
        memory = Memory([len(row.prompt.token_ids) for row in rows], self._model.device)
        memory.lengths = [row.token_ids.shape[1] - 1 for row in rows]  # as if all but the newest were cached
        states = self._model.get_encoder()(input_ids=self._padded(rows), attention_mask=memory.prompt_mask)
        return memory, self._scores(memory, self._written(rows), states.last_hidden_state)

    def go_on(self, memory: Memory, rows: Sequence[Row]) -> torch.Tensor:
        # Prompts are in the cache: of their states only the shape is looked at.
        unread = memory.prompt_mask.new_zeros((), dtype=self._model.dtype).expand(*memory.prompt_mask.shape, 1)
        return self._scores(memory, torch.cat([row.token_ids[:, -1:] for row in rows]), unread)

    def gather(self, parts: Sequence[tuple[Memory, Sequence[int]]]) -> Memory:
        return gather(parts)

    def _padded(self, rows: Sequence[Row]) -> torch.Tensor:
        """Prompts, shape (rows, longest), int64, padded on the right with what the mask hides."""
        longest = max(len(row.prompt.token_ids) for row in rows)
        padding = self._model.config.pad_token_id or 0
        padded = [[*row.prompt.token_ids, *[padding] * (longest - len(row.prompt.token_ids))] for row in rows]
        return torch.tensor(padded, device=self._model.device)

    def _written(self, rows: Sequence[Row]) -> torch.Tensor:
        """What the decoder reads of rows of which nothing is cached, shape (rows, most tokens), int64, padded on the
        left with what the mask hides."""
        longest = max(row.token_ids.shape[1] for row in rows)
        padding = self._model.config.pad_token_id or 0
        padded = [functional.pad(row.token_ids, (longest - row.token_ids.shape[1], 0), value=padding) for row in rows]
        return torch.cat(padded)

    def _scores(self, memory: Memory, token_ids: torch.Tensor, states: Any) -> torch.Tensor:
        """One pass of the decoder, which reads `token_ids`, shape (rows, tokens)."""
        with self._positions.at(memory.lengths, token_ids.shape[1]), self._last_alone():
            outputs = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=memory.prompt_mask,
                decoder_input_ids=token_ids,
                decoder_attention_mask=memory.mask(),
                past_key_values=memory.cache,
                use_cache=True,
            )
        return outputs.logits[:, -1].float()  # type: ignore[no-any-return]

    def _last_alone(self) -> RemovableHandle:
        """While it is entered, only the last token's state is multiplied by the vocabulary."""
        vocabulary = self._model.get_output_embeddings()
        handle: RemovableHandle = vocabulary.register_forward_pre_hook(lambda _, states: (states[0][:, -1:],))
        return handle
