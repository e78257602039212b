"""Text to token ids, for prompts that are spliced from pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "a"
"""Any text: what stands around its tokens is what the tokenizer puts around every text."""

BREAK = "\n"
"""What a text stands behind to be one within another."""

WHITE = " \t\n\r▁"


class Vocabulary:
    """A tokenizer from `chassis.pretrained`, to which a control token that a text spells is only text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._control_ids = control_ids(tokenizer)
        bare, wrapped = self._ids([PROBE], False)[0], self._ids([PROBE], True)[0]
        before = next(i for i in range(len(wrapped)) if wrapped[i : i + len(bare)] == bare)
        self._prefix, self._suffix = wrapped[:before], wrapped[before + len(bare) :]
        self._break, broken = self._ids([BREAK, BREAK + PROBE], False)
        self._marks_begin = bool(self._break) and broken != [*self._break, *bare]

    @property
    def control(self) -> tuple[list[int], list[int]]:
        """The control tokens that the model expects before and behind a text."""
        return self._prefix, self._suffix

    @property
    def num_control_tokens(self) -> int:
        """How many control tokens `wrap` adds."""
        return len(self._prefix) + len(self._suffix)

    def wrap(self, token_ids: Iterable[int]) -> list[int]:
        """The ids with the control tokens that the model expects around a text."""
        return [*self._prefix, *token_ids, *self._suffix]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without control tokens."""
        ids = self._ids(texts, False) if texts else []
        return [
            one if self._control_ids.isdisjoint(one) else self._encode_in_parts(text)
            for text, one in zip(texts, ids, strict=True)
        ]

    def encode_within(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for texts that go on from others: without the space that some tokenizers put before a text."""
        if not self._marks_begin:
            return self.encode(texts)
        num_break = len(self._break)
        return [
            ids[num_break:] if ids[:num_break] == self._break else self.encode([text])[0]
            for text, ids in zip(texts, self.encode([BREAK + text for text in texts]), strict=True)
        ]

    def _encode_in_parts(self, text: str) -> list[int]:
        """The ids of a text that spells control tokens, cut within each of them. What cannot be cut is left out."""
        read = self._tokenizer([text], add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, spans = read["input_ids"][0], read["offset_mapping"][0]
        found = [span for token_id, span in zip(ids, spans, strict=True) if token_id in self._control_ids]
        cuts = sorted({_within(text, *span) for span in found} & set(range(1, len(text))))
        if not cuts:
            return [token_id for token_id in ids if token_id not in self._control_ids]
        first, *others = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
        return [token_id for part in [*self.encode([first]), *self.encode_within(others)] for token_id in part]

    def _ids(self, texts: Sequence[str], wrapped: bool) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=wrapped, verbose=False)["input_ids"]
        return ids


def control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that no text may become: those called special, and others that were added to the vocabulary, for the
    markers of a chat are not always called so. Words, white space and single characters may be added as well."""
    return frozenset(
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.content != tokenizer.unk_token and (token.special or _is_marker(token.content.strip(WHITE)))
    )


def _is_marker(text: str) -> bool:
    return len(text) > 1 and not text.isalnum()


def _within(text: str, start: int, end: int) -> int:
    """Behind the first character of a token there: it may have taken the white space before it."""
    spelt = text[start:end]
    return start + len(spelt) - len(spelt.lstrip()) + 1
