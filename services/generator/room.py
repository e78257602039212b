"""How many answers may be written at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.engine import Prompt, Sampling


@dataclass(frozen=True)
class Size:
    """What an answer may take of a cache, tokens."""

    num_prompt_tokens: int
    max_output_tokens: int
    num_rows: int = 1
    """Beams."""

    @classmethod
    def of(cls, prompt: Prompt, sampling: Sampling) -> Size:
        """The size of an answer that becomes as long as it may."""
        return cls(prompt.num_padded_tokens, sampling.max_output_tokens, sampling.num_beams)


@dataclass(frozen=True)
class Room:
    """The bounds of a flight. An answer that fits nowhere flies alone."""

    max_rows: int
    max_cache_tokens: float = math.inf
    """Of all rows, each padded to the longest prompt and the longest answer: what is reserved is never exceeded."""
    max_prefill_tokens: float = math.inf
    """Of the prompts that are read in one step, padded. The answers on their way wait that long for their tokens."""

    def fits(self, newcomer: Size, flying: Sequence[Size], joining: Sequence[Size]) -> bool:
        """Whether `newcomer` may join in this step, after `joining`, those on their way being `flying`."""
        reads, rows = [*joining, newcomer], [*flying, *joining, newcomer]
        if len(rows) == 1:
            return True
        num_rows = sum(row.num_rows for row in rows)
        longest_prompt = max(row.num_prompt_tokens for row in rows)
        longest_answer = max(row.max_output_tokens for row in rows)
        return (
            num_rows <= self.max_rows
            and num_rows * (longest_prompt + longest_answer) <= self.max_cache_tokens
            and (not joining or len(reads) * max(row.num_prompt_tokens for row in reads) <= self.max_prefill_tokens)
        )


ONE = Room(max_rows=1)
