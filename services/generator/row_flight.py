"""Answers of one encoder-decoder, written together: they join and leave at any token. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers.modeling_outputs import BaseModelOutput

from services.generator.engine import Sampling, Step
from services.generator.memory import Memory, gather
from services.generator.positions import Differences, Positions
from services.generator.prompt import TokenPrompt
from services.generator.rules import Rules

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Outcome = Step | Exception


class Writes(Protocol):
    """Makes steps of tokens: a `Writer`."""

    def write(self, token_id: int, is_last: bool) -> Step: ...


@dataclass(frozen=True)
class Opening:
    """How an answer begins."""

    rules: Rules
    writer: Writes
    max_tokens: int


class Row:
    """An answer on its way."""

    def __init__(self, number: int, prompt: TokenPrompt, opening: Opening) -> None:
        self.number = number
        self.prompt = prompt
        self.rules = opening.rules
        self.is_done = False
        self._writer = opening.writer
        self._max_tokens = opening.max_tokens
        self._num_tokens = 0
        self.token_ids = opening.rules.start
        """What the decoder has read or will read next, shape (1, tokens)."""

    def write(self, token_id: torch.Tensor, number: int) -> Step:
        """Take the next token: on the device, shape (1,), and as a number."""
        self._num_tokens += 1
        self.token_ids = torch.cat([self.token_ids, token_id[None]], dim=1)
        self.is_done = number in self.rules.ends or self._num_tokens == self._max_tokens
        return self._writer.write(number, self.is_done)


class RowFlight:
    """Greedy rows of one batch. The tokens of each are those of the model's own `generate` for it alone.

    A step reads the newcomers' prompts together, gives them their first token, and gives every other row its next.
    The modules are the model's own; only masks and positions are this flight's.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        positions: Positions | Differences,
        open_answer: Callable[[TokenPrompt, Sampling], Opening],
    ) -> None:
        self._model = model
        self._positions = positions
        self._open = open_answer
        self._batches: list[tuple[Memory, list[Row]]] = []
        """One, and until the next step one for those who joined last."""

    @torch.inference_mode()
    def step(
        self, joining: Mapping[int, tuple[TokenPrompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Outcome]:
        flying, self._batches = self._settled(leaving), []
        outcomes: dict[int, Outcome] = {}
        if flying:
            outcomes |= self._decode(*flying)
        newcomers = []
        for number, (prompt, sampling) in joining.items():
            try:
                newcomers.append(Row(number, prompt, self._open(prompt, sampling)))
            except Exception as error:
                outcomes[number] = error
        if newcomers:
            outcomes |= self._read(newcomers)
        if all(row.is_done for _, rows in self._batches for row in rows):
            self._batches = []
        return outcomes

    def _settled(self, leaving: Collection[int]) -> tuple[Memory, list[Row]] | None:
        """All rows that go on, as one batch."""
        parts, going_on = [], []
        for memory, rows in self._batches:
            kept = [place for place, row in enumerate(rows) if not row.is_done and row.number not in leaving]
            if kept:
                parts.append((memory, kept))
                going_on += [rows[place] for place in kept]
        return (gather(parts), going_on) if parts else None

    def _decode(self, memory: Memory, rows: list[Row]) -> dict[int, Outcome]:
        """The next token of each row; where the batch fails, of each row by itself."""
        try:
            # Prompts are in the cache: of their states only the shape is looked at.
            unread = memory.prompt_mask.new_zeros((), dtype=self._model.dtype).expand(*memory.prompt_mask.shape, 1)
            scores = self._scores(memory, rows, unread)
        except Exception as error:
            memory.rewind()
            if len(rows) == 1:
                return {rows[0].number: error}
            alone = [(gather([(memory, [place])]), [row]) for place, row in enumerate(rows)]
            return {number: outcome for one in alone for number, outcome in self._decode(*one).items()}
        return self._write(memory, rows, scores)

    def _read(self, rows: list[Row]) -> dict[int, Outcome]:
        """The first token of each row; where the batch fails, of each row by itself."""
        lengths = [len(row.prompt.token_ids) for row in rows]
        try:
            memory = Memory(lengths, self._model.device)
            states = self._model.get_encoder()(input_ids=self._padded(rows), attention_mask=memory.prompt_mask)
            scores = self._scores(memory, rows, states.last_hidden_state)
        except Exception as error:
            if len(rows) == 1:
                return {rows[0].number: error}
            return {number: outcome for row in rows for number, outcome in self._read([row]).items()}
        return self._write(memory, rows, scores)

    def _padded(self, rows: Sequence[Row]) -> torch.Tensor:
        """Prompts, shape (rows, longest), int64, padded on the right with what the mask hides."""
        longest = max(len(row.prompt.token_ids) for row in rows)
        padding = self._model.config.pad_token_id or 0
        padded = [[*row.prompt.token_ids, *[padding] * (longest - len(row.prompt.token_ids))] for row in rows]
        return torch.tensor(padded, device=self._model.device)

    def _scores(self, memory: Memory, rows: Sequence[Row], states: Any) -> torch.Tensor:
        """One pass of the decoder: scores of the next tokens, shape (rows, vocabulary), float32."""
        with self._positions.at(memory.lengths):
            outputs = self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=memory.prompt_mask,
                decoder_input_ids=torch.cat([row.token_ids[:, -1:] for row in rows]),
                decoder_attention_mask=memory.mask(),
                past_key_values=memory.cache,
                use_cache=True,
            )
        # In float32 whatever the model's dtype, as `generate` has it: the rules then round the same.
        return outputs.logits[:, -1].float()  # type: ignore[no-any-return]

    def _write(self, memory: Memory, rows: list[Row], scores: torch.Tensor) -> dict[int, Outcome]:
        """The likeliest token of each row by its own rules. A row whose rules fail is done."""
        memory.grow()
        self._batches.append((memory, rows))
        outcomes: dict[int, Outcome] = {}
        for place, row in enumerate(rows):
            if row.rules.processors:
                try:
                    scores[place] = row.rules.processors(row.token_ids, scores[place : place + 1])[0]
                except Exception as error:
                    outcomes[row.number], row.is_done = error, True
        chosen = scores.argmax(dim=-1)
        for place, (row, number) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if row.number in outcomes:
                continue
            try:
                outcomes[row.number] = row.write(chosen[place : place + 1], number)
            except Exception as error:
                outcomes[row.number], row.is_done = error, True
        return outcomes
