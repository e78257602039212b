"""How many answers may be written at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.generator.engine import Prompt, Sampling

REGROWTH = 1 / 16
"""Share of a room that comes back with each answer that ends, after memory ran out."""


@dataclass(frozen=True)
class Size:
    """What an answer may take of a cache, tokens."""

    num_prompt_tokens: int
    max_output_tokens: int
    num_rows: int = 1
    """Beams."""
    num_written_tokens: int = 0
    """What it has come to already."""

    @classmethod
    def of(cls, prompt: Prompt, sampling: Sampling) -> Size:
        """The size of an answer that becomes as long as it may."""
        return cls(prompt.num_padded_tokens, sampling.max_output_tokens, sampling.num_beams)

    @property
    def num_tokens(self) -> int:
        """Of cache, when it is as long as it may become."""
        return self.num_rows * (self.num_prompt_tokens + self.max_output_tokens)

    @property
    def num_read_tokens(self) -> int:
        """When it joins."""
        return self.num_prompt_tokens + self.num_written_tokens


def num_rows(sizes: Sequence[Size]) -> int:
    """Of all of them."""
    return sum(size.num_rows for size in sizes)


def reserved(rows: Sequence[Size]) -> int:
    """Tokens of cache that these may come to take."""
    return _padded(rows, [row.max_output_tokens for row in rows])


def used(rows: Sequence[Size]) -> int:
    """Tokens of cache that these take now."""
    return _padded(rows, [row.num_written_tokens for row in rows])


def _padded(rows: Sequence[Size], num_output_tokens: Sequence[int]) -> int:
    """Tokens of cache for prompts and answers, each padded to the longest."""
    if not rows:
        return 0
    return num_rows(rows) * (max(row.num_prompt_tokens for row in rows) + max(num_output_tokens))


@dataclass(frozen=True)
class Room:
    """The bounds of a flight."""

    max_rows: int
    max_cache_tokens: float = math.inf
    """What is reserved never exceeds it, but for a row that flies alone."""
    max_prefill_tokens: float = math.inf
    """Of the prompts that are read in one step, padded. The answers on their way wait that long for their tokens."""

    def fits(self, newcomer: Size, flying: Sequence[Size], joining: Sequence[Size]) -> bool:
        """Whether `newcomer` may join in this step, after `joining`, those on their way being `flying`."""
        reads, rows = [*joining, newcomer], [*flying, *joining, newcomer]
        if len(rows) == 1:
            return True
        return (
            num_rows(rows) <= self.max_rows
            and reserved(rows) <= self.max_cache_tokens
            and (not joining or len(reads) * max(row.num_read_tokens for row in reads) <= self.max_prefill_tokens)
        )

    def holds(self, size: Size) -> bool:
        """Whether such an answer could ever be written here."""
        return size.num_tokens <= self.max_cache_tokens

    def shrunk(self, flying: Sequence[Size]) -> Room:
        """The room after memory ran out and `flying` were left: nobody joins them."""
        return replace(self, max_cache_tokens=reserved(flying))

    def regrown(self, whole: Room) -> Room:
        """The room after an answer has ended without a shortage: a little of `whole` is tried again."""
        grown = self.max_cache_tokens + REGROWTH * whole.max_cache_tokens
        return replace(self, max_cache_tokens=min(whole.max_cache_tokens, grown))


ONE = Room(max_rows=1)
