"""How long prompts and answers may be: as long as is wanted, and as the model has positions for."""

from __future__ import annotations

import math
from typing import Any


def num_positions(config: Any) -> float:
    """Tokens of a text that a model of transformers with this configuration tells apart: infinitely many where only
    their differences count, as in T5."""
    return getattr(config, "max_position_embeddings", None) or math.inf


def of_two_texts(num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[int, int]:
    """Of prompt and answer where an encoder reads and a decoder writes: each has the positions to itself, the answer
    all but its start token's."""
    return int(min(max_prompt_tokens, num_positions)), int(min(max_output_tokens, num_positions - 1))


def of_one_text(num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[int, int]:
    """Of prompt and answer where they share the positions. Where both do not fit, neither has more than half of them,
    unless the other leaves them."""
    longest_prompt = min(max_prompt_tokens, max(num_positions - max_output_tokens, num_positions // 2))
    return int(longest_prompt), int(min(max_output_tokens, num_positions - longest_prompt))
