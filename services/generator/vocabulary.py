"""Text to token ids, for prompts that are spliced from pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "a"
"""Any text: what stands around its tokens is what the tokenizer puts around every text."""


class Vocabulary:
    """A tokenizer from `chassis.pretrained`, to which a control token that a text spells is only text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        bare, wrapped = self._ids([PROBE], False)[0], self._ids([PROBE], True)[0]
        before = next(i for i in range(len(wrapped)) if wrapped[i : i + len(bare)] == bare)
        self._prefix, self._suffix = wrapped[:before], wrapped[before + len(bare) :]

    @property
    def num_control_tokens(self) -> int:
        """How many control tokens `wrap` adds."""
        return len(self._prefix) + len(self._suffix)

    def wrap(self, token_ids: Iterable[int]) -> list[int]:
        """The ids with the control tokens that the model expects around a text."""
        return [*self._prefix, *token_ids, *self._suffix]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without control tokens."""
        return self._ids(texts, False) if texts else []

    def _ids(self, texts: Sequence[str], wrapped: bool) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=wrapped, verbose=False)["input_ids"]
        return ids
