"""Token ids back to text, as they come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLACEMENT = "\ufffd"
"""What bytes decode to that are no whole character, or not yet."""

BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token that is one byte, of which tokenizers with byte fallback decode a whole run at once: as text, or each byte
as U+FFFD where the run is no text. What bytes are is open until another token follows."""


class Detokenizer:
    """The text of one answer. All deltas together are what the tokenizer decodes from all ids together, control
    tokens left out and spaces as the model wrote them.

    Decoding a token depends on the tokens before it (a leading space, bytes of one character), so the last
    tokens are decoded again with every new one, and only text that later tokens cannot change is given out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._control_ids = frozenset(tokenizer.all_special_ids)
        self._window: list[int] = []
        self._given = ""
        """What of the window's text was given out."""
        self._num_whole = 0
        """How many ids of the window lie before the last point where all text was given out."""

    def add(self, token_id: int) -> str:
        """The text that is certain now and was not before. Never a part of a character."""
        if token_id in self._control_ids:
            return ""
        self._window.append(token_id)
        if BYTE.fullmatch(self._tokenizer.convert_ids_to_tokens(token_id) or ""):
            return ""
        text = self._decode(self._window)
        certain = text.rstrip(REPLACEMENT)
        if len(certain) <= len(self._given) or not certain.startswith(self._given):
            return ""
        delta = certain[len(self._given) :]
        self._given = certain
        if certain == text:
            self._shorten()
        return delta

    def end(self) -> str:
        """The text that waited for more tokens; broken characters are U+FFFD, as the tokenizer has them."""
        return self._decode(self._window)[len(self._given) :]

    def _shorten(self) -> None:
        del self._window[: self._num_whole]
        self._num_whole = len(self._window)
        self._given = self._decode(self._window)

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
