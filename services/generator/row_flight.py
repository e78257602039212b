"""Answers of one model, written together: they join and leave at any token. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

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
