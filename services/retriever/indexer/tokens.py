"""A text that is tokenised once, and then asked how many tokens any part of it is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

TokenEnds = Callable[[str], Sequence[int]]
"""Where each token of a text ends, in characters, in their order. Special tokens excluded."""

WINDOW = 1 << 16
"""Characters that are tokenised at once: what a tokenizer says of a character takes hundreds of bytes."""


class TokenisedText:
    """A section's text. The tokens of a part are those that end in it.

    That is what the part alone would be, where it begins and ends between words; for some tokenizers, and inside
    words, it may be a few more or less.
    """

    def __init__(self, text: str, token_ends: TokenEnds) -> None:
        self.text = text
        self._ends: list[int] = []
        for start, end in _windows(text):
            self._ends.extend(start + token_end for token_end in token_ends(text[start:end]))

    def num_tokens(self, start: int, end: int) -> int:
        """Of the characters `start` to `end`."""
        return bisect_right(self._ends, end) - bisect_right(self._ends, start)


def _windows(text: str) -> list[tuple[int, int]]:
    """They end at white space where there is some."""
    windows, start = [], 0
    while start < len(text):
        end = min(start + WINDOW, len(text))
        if end < len(text):
            end = next((cut for cut in range(end, start, -1) if text[cut].isspace()), end)
        windows.append((start, end))
        start = end
    return windows
