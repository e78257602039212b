"""Answers of one model, written together: they join and leave at any token. Imports torch.

Where there is no memory for a step, the youngest rows are put back: their keys and values are forgotten, their tokens,
rules and text are not, so that they go on where they were once they have been read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from services.generator.engine import NoMemory, PutBack, Sampling, Step
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows import cache_budget
from services.generator.rows.choice import Chosen, choose
from services.generator.rows.decoder import AnyDecoder
from services.generator.rows.row import Opening, Row
from services.generator.rows.shortage import is_shortage

logger = logging.getLogger(__name__)

Outcome = Step | PutBack | Exception
Part = tuple[Any, list[int], list[Row]]
"""Memory of some rows, those places of it that go on, and the rows there."""
Reading = tuple[Any, list[Row], torch.Tensor | None]
"""Memory of newcomers, and the scores of their first tokens, unless those come from the pass of all."""


@dataclass
class Batch:
    """Rows that go on together. Only it holds their memory, so that what is replaced here is free."""

    memory: Any
    rows: list[Row]


class RowFlight:
    """Rows of one batch. The tokens of each are those of the model's own `generate` for it alone.

    A step reads the newcomers' prompts together and gives every row its next token: all of them in one pass, but for
    newcomers whose prompts tell their first.
    """

    def __init__(self, decoder: AnyDecoder, open_answer: Callable[[TokenPrompt, Sampling], Opening]) -> None:
        self._decoder = decoder
        self._open = open_answer
        self._batches: list[tuple[Any, list[Row]]] = []
        """Memory and rows: one, and until the next step one for those whose prompts have just been read, or one for
        each row where a pass has failed."""
        self._joined: set[int] = set()
        """Rows that join in this step."""
        self._put_back: dict[int, Row] = {}
        """Rows that wait for memory, as far as they have come."""
        self.has_company = False
        """Whether others beside this flight take memory, who may give it back."""
        self._is_alone = False
        """Whether the step is one row's: whatever memory there is is its own."""

    @torch.inference_mode()
    def step(
        self, joining: Mapping[int, tuple[TokenPrompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        for number in leaving:
            self._put_back.pop(number, None)
        newcomers = self._newcomers(joining, outcomes)
        waiting = set(self._put_back)
        parts, self._batches = self._parts(leaving), []
        num_rows = len(newcomers) + sum(len(rows) for _, _, rows in parts)
        self._is_alone = num_rows == 1 and not self.has_company
        self._joined = {row.number for row in newcomers}
        if not self._decoder.scores_what_it_reads:
            parts += [(memory, list(range(len(rows))), rows) for memory, rows, _ in self._read(newcomers, outcomes)]
            newcomers = []
        if batch := self._gathered(parts):
            outcomes |= self._go_on(batch)
        if self._put_back.keys() - waiting:  # nobody comes in where others had to go
            self._put_back |= {row.number: row for row in newcomers}
            newcomers = []
        for memory, rows, scores in self._read(newcomers, outcomes):
            assert scores is not None
            outcomes |= self._write(memory, rows, scores)
        if all(row.is_done for _, rows in self._batches for row in rows):
            self._batches = []
        outcomes |= {number: PutBack() for number in self._put_back.keys() - waiting}
        return {number: NoMemory() if _is_shortage(outcome) else outcome for number, outcome in outcomes.items()}

    @torch.inference_mode()
    def token_bytes(self, prompt: TokenPrompt, sampling: Sampling) -> int:
        """Bytes that a token takes in the cache, measured on a prompt that is read and forgotten."""
        rows = [Row(0, prompt, self._open(prompt, sampling))]
        memory, scores = self._decoder.read(rows)
        if scores is None:
            self._decoder.go_on(memory, rows)
        return cache_budget.token_bytes(memory.cache)

    def _newcomers(
        self, joining: Mapping[int, tuple[TokenPrompt, Sampling]], outcomes: dict[int, Outcome]
    ) -> list[Row]:
        """The rows of those who join, some of them as they were when they were put back."""
        rows = []
        for number, (prompt, sampling) in joining.items():
            try:
                known = number in self._put_back
                row = self._put_back.pop(number) if known else Row(number, prompt, self._open(prompt, sampling))
            except Exception as error:
                has_company = self.has_company or len(joining) > 1 or self._batches
                outcomes[number] = PutBack() if is_shortage(error) and has_company else error
            else:
                rows.append(row)
        return rows

    def _parts(self, leaving: Collection[int]) -> list[Part]:
        """All rows that go on."""
        parts = []
        for memory, rows in self._batches:
            kept = [place for place, row in enumerate(rows) if not row.is_done and row.number not in leaving]
            if kept:
                parts.append((memory, kept, [rows[place] for place in kept]))
        return parts

    def _gathered(self, parts: list[Part]) -> Batch | None:
        """All of them as one batch; where there is no memory for that, without the youngest. `parts` is emptied."""
        while parts:
            try:
                memory = self._decoder.gather([(memory, places) for memory, places, _ in parts])
            except Exception as error:
                if not is_shortage(error):
                    raise
            else:
                rows = [row for _, _, rows in parts for row in rows]
                parts.clear()
                return Batch(memory, rows)
            parts[:] = self._older(parts)
        return None

    def _go_on(self, batch: Batch) -> dict[int, Outcome]:
        """The next token of each row; where the batch fails, of each row by itself."""
        while batch.rows:
            try:
                scores = self._decoder.go_on(batch.memory, batch.rows)
            except Exception as error:
                batch.memory.rewind()
                if not is_shortage(error):
                    return self._go_on_one_by_one(batch, error)
            else:
                return self._write(batch.memory, batch.rows, scores)
            if self._is_alone:
                return {batch.rows[0].number: NoMemory()}
            fewer = self._gathered(self._older([(batch.memory, list(range(len(batch.rows))), batch.rows)]))
            batch.memory, batch.rows = (fewer.memory, fewer.rows) if fewer else (None, [])
        return {}

    def _go_on_one_by_one(self, batch: Batch, error: Exception) -> dict[int, Outcome]:
        if len(batch.rows) == 1:
            return {batch.rows[0].number: error}
        alone = [self._gathered([(batch.memory, [place], [row])]) for place, row in enumerate(batch.rows)]
        return {number: outcome for one in alone if one for number, outcome in self._go_on(one).items()}

    def _read(self, rows: Sequence[Row], outcomes: dict[int, Outcome]) -> list[Reading]:
        """The prompts of rows of which nothing is cached; where that fails, of each row by itself."""
        while rows:
            try:
                memory, scores = self._decoder.read(rows)
            except Exception as error:
                if not is_shortage(error):
                    return self._read_one_by_one(rows, error, outcomes)
            else:
                return [(memory, list(rows), scores)]
            if self._is_alone:
                outcomes[rows[0].number] = NoMemory()
                break
            rows = self._without_youngest(rows)
        return []

    def _read_one_by_one(self, rows: Sequence[Row], error: Exception, outcomes: dict[int, Outcome]) -> list[Reading]:
        if len(rows) == 1:
            outcomes[rows[0].number] = error
            return []
        return [reading for row in rows for reading in self._read([row], outcomes)]

    def _older(self, parts: list[Part]) -> list[Part]:
        """The parts without the youngest rows, which are put back. Those of later parts are younger."""
        num_kept = len(self._without_youngest([row for _, _, rows in parts for row in rows]))
        older: list[Part] = []
        for memory, places, rows in parts:
            if num_kept > 0:
                older.append((memory, places[:num_kept], rows[:num_kept]))
            num_kept -= len(rows)
        return older

    def _without_youngest(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, which are in the order in which they joined, without the last of them, who are put back: those who
        join in this step, or the last half (at least one) of rows that are all on their way or all new."""
        num_kept = sum(row.number not in self._joined for row in rows)
        if num_kept in (0, len(rows)):
            num_kept = len(rows) - max(1, len(rows) // 2)
        self._put_back |= {row.number: row for row in rows[num_kept:]}
        logger.warning("no memory for a step: answers are put back", extra={"answers": len(rows) - num_kept})
        return list(rows[:num_kept])

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


def _is_shortage(outcome: Outcome) -> bool:
    return isinstance(outcome, Exception) and is_shortage(outcome)
