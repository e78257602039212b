"""One answer on its way. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from services.generator.engine import Logprobs, Step
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.rules import Rules


class Writes(Protocol):
    """Makes steps of tokens: a `Writer`."""

    def write(self, token_id: int, is_last: bool, logprobs: Logprobs | None = None) -> Step:
        """The step that this token makes. One with `finish` ends the answer, though the token may not be the last."""
        ...


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

    def write(self, token_id: torch.Tensor, number: int, logprobs: Logprobs | None = None) -> Step:
        """Take the next token: on the device, shape (1,), and as a number."""
        self._num_tokens += 1
        self.token_ids = torch.cat([self.token_ids, token_id[None]], dim=1)
        is_last = number in self.rules.ends or self._num_tokens == self._max_tokens
        step = self._writer.write(number, is_last, logprobs)
        self.is_done = step.finish is not None
        return step


def whole(rows: Sequence[Row]) -> torch.Tensor:
    """All tokens of rows, shape (rows, most tokens), int64, padded on the left with zeros, which a mask is to hide."""
    longest = max(row.token_ids.shape[1] for row in rows)
    return torch.cat([functional.pad(row.token_ids, (longest - row.token_ids.shape[1], 0)) for row in rows])


def newest(rows: Sequence[Row]) -> torch.Tensor:
    """The newest token of each, shape (rows, 1), int64."""
    return torch.cat([row.token_ids[:, -1:] for row in rows])
