"""Rows of an encoder-decoder: BART, T5 and kin. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers.modeling_outputs import BaseModelOutput

from services.generator.rows.cross_attention import cross_attentions
from services.generator.rows.memory import CrossMemory, gather
from services.generator.rows.padding import pad
from services.generator.rows.positions import Differences, Positions
from services.generator.rows.row import Row, newest, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EncoderDecoder:
    """The modules are the model's own; only masks and positions are ours."""

    scores_what_it_reads = False

    def __init__(self, model: PreTrainedModel, positions: Positions | Differences) -> None:
        self._model = model
        self._positions = positions
        self._attentions = cross_attentions(model)

    def read(self, rows: Sequence[Row]) -> tuple[CrossMemory, None]:
        """The decoder has nothing to read of an answer that begins: its first token is one of the next pass."""
        prompt_lengths = [len(row.prompt.token_ids) for row in rows]
        memory = CrossMemory(prompt_lengths, [row.token_ids.shape[1] - 1 for row in rows], self._model.device)
        padding = self._model.config.pad_token_id or 0
        prompts = pad([row.prompt.token_ids for row in rows], self._model.device, padding)
        states = self._model.get_encoder()(input_ids=prompts, attention_mask=memory.prompt_mask)
        for number, attention in enumerate(self._attentions):
            memory.begin(number, *attention.keys_and_values(states.last_hidden_state))
        if any(memory.num_unread):
            self._read_again(memory, whole(rows)[:, :-1])
        memory.grow()
        return memory, None

    def go_on(self, memory: CrossMemory, rows: Sequence[Row]) -> torch.Tensor:
        return self._scores(memory, newest(rows))

    def gather(self, parts: Sequence[tuple[CrossMemory, Sequence[int]]]) -> CrossMemory:
        return gather(parts)

    def _read_again(self, memory: CrossMemory, token_ids: torch.Tensor) -> None:
        """Cache what rows had written when they were put back, shape (rows, tokens)."""
        mask, positions = memory.layout()
        with self._positions.at(positions):
            self._model.get_decoder()(
                input_ids=token_ids,
                attention_mask=mask,
                encoder_hidden_states=self._unread(memory),
                encoder_attention_mask=memory.prompt_mask,
                past_key_values=memory.cache,
                use_cache=True,
            )

    def _scores(self, memory: CrossMemory, token_ids: torch.Tensor) -> torch.Tensor:
        """One pass of the decoder, which reads `token_ids`, shape (rows, 1)."""
        mask, positions = memory.layout()
        with self._positions.at(positions):
            outputs = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._unread(memory)),
                attention_mask=memory.prompt_mask,
                decoder_input_ids=token_ids,
                decoder_attention_mask=mask,
                past_key_values=memory.cache,
                use_cache=True,
            )
        return outputs.logits[:, -1].float()  # type: ignore[no-any-return]

    def _unread(self, memory: CrossMemory) -> torch.Tensor:
        """In place of the encoder's states: prompts are in the cache, and of their states only the shape is looked
        at."""
        return memory.prompt_mask.new_zeros((), dtype=self._model.dtype).expand(*memory.prompt_mask.shape, 1)
