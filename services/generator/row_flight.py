"""Answers of one model, written together: they join and leave at any token. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from services.generator.choice import Chosen, choose
from services.generator.decoder import AnyDecoder
from services.generator.engine import Sampling, Step
from services.generator.prompt import TokenPrompt
from services.generator.row import Opening, Row

Outcome = Step | Exception


class RowFlight:
    """Rows of one batch. The tokens of each are those of the model's own `generate` for it alone.

    A step reads the newcomers' prompts together, gives them their first token, and gives every other row its next.
    """

    def __init__(self, decoder: AnyDecoder, open_answer: Callable[[TokenPrompt, Sampling], Opening]) -> None:
        self._decoder = decoder
        self._open = open_answer
        self._batches: list[tuple[Any, list[Row]]] = []
        """Memory and rows: one, and until the next step one for those who joined last."""

    @torch.inference_mode()
    def step(
        self, joining: Mapping[int, tuple[TokenPrompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Outcome]:
        flying, self._batches = self._settled(leaving), []
        outcomes: dict[int, Outcome] = {}
        if flying:
            outcomes |= self._go_on(*flying)
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

    def _settled(self, leaving: Collection[int]) -> tuple[Any, list[Row]] | None:
        """All rows that go on, as one batch."""
        parts, going_on = [], []
        for memory, rows in self._batches:
            kept = [place for place, row in enumerate(rows) if not row.is_done and row.number not in leaving]
            if kept:
                parts.append((memory, kept))
                going_on += [rows[place] for place in kept]
        return (self._decoder.gather(parts), going_on) if parts else None

    def _go_on(self, memory: Any, rows: list[Row]) -> dict[int, Outcome]:
        """The next token of each row; where the batch fails, of each row by itself."""
        try:
            scores = self._decoder.go_on(memory, rows)
        except Exception as error:
            memory.rewind()
            if len(rows) == 1:
                return {rows[0].number: error}
            alone = [(self._decoder.gather([(memory, [place])]), [row]) for place, row in enumerate(rows)]
            return {number: outcome for one in alone for number, outcome in self._go_on(*one).items()}
        return self._write(memory, rows, scores)

    def _read(self, rows: list[Row]) -> dict[int, Outcome]:
        """The first token of each row; where the batch fails, of each row by itself."""
        try:
            memory, scores = self._decoder.read(rows)
        except Exception as error:
            if len(rows) == 1:
                return {rows[0].number: error}
            return {number: outcome for row in rows for number, outcome in self._read([row]).items()}
        return self._write(memory, rows, scores)

    def _write(self, memory: Any, rows: list[Row], scores: torch.Tensor) -> dict[int, Outcome]:
        """The next token of each row, as it chooses. A row whose rules fail is done."""
        memory.grow()
        self._batches.append((memory, rows))
        chosen = choose([row.rules.choice for row in rows], [row.token_ids for row in rows], scores)
        return {row.number: _outcome(row, one) for row, one in zip(rows, chosen, strict=True)}


def _outcome(row: Row, chosen: Chosen | Exception) -> Outcome:
    try:
        if isinstance(chosen, Exception):
            raise chosen
        return row.write(chosen.token_id, chosen.number, chosen.logprobs)
    except Exception as error:
        row.is_done = True
        return error
