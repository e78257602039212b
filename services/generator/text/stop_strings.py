"""Strings that end an answer where one is complete. Text in, text out."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """The text of one answer without the stop string that ends it, nor anything after it.

    The string that is complete first ends the answer; of several that are complete at once, the longest. What may be
    the beginning of one is held back, so that no part of a stop string is ever given out.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        """None of them is empty."""
        self._strings = strings
        self._held = ""
        self.found: str | None = None
        """The string that ended the answer."""

    def add(self, text: str) -> str:
        """What of the text until here is certain now and was not before."""
        num_searched, text = len(self._held), self._held + text
        ends = [
            (start + len(string), len(string), string)
            for string in self._strings
            if (start := text.find(string, max(0, num_searched + 1 - len(string)))) >= 0
        ]
        if not ends:
            return self._certain(text)
        end, length, self.found = min(ends, key=lambda one: (one[0], -one[1]))
        self._held = ""
        return text[: end - length]

    def pass_over(self, text: str) -> str:
        """The same where the answer may not end yet: a string that is complete here is text like any other."""
        return self._certain(self._held + text)

    def end(self) -> str:
        """What was held back, for the answer has ended without a stop string."""
        held, self._held = self._held, ""
        return held

    def _certain(self, text: str) -> str:
        num_held = self._num_held(text)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def _num_held(self, text: str) -> int:
        """How many characters at the end of the text may be the beginning of a string."""
        longest = min(len(text), max(map(len, self._strings), default=1) - 1)
        sizes = range(longest, 0, -1)
        return next((size for size in sizes if self._may_begin(text[len(text) - size :])), 0)

    def _may_begin(self, text: str) -> bool:
        return any(len(text) < len(string) and string.startswith(text) for string in self._strings)
