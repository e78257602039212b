"""How many tokens a text will be, without a tokenizer: for the queue, before the text is read."""

from __future__ import annotations

BYTES_PER_TOKEN = 4
"""A common mean over scripts: English has about 4 letters a token, Chinese 3 bytes a character."""


def estimate_tokens(text: str) -> int:
    """About how many tokens the text has, from its length alone. At least 1."""
    return 1 + len(text.encode()) // BYTES_PER_TOKEN
