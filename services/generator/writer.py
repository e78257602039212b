"""The tokens of one answer become its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.generator.citations import CitationFilter
from services.generator.detokenizer import Detokenizer
from services.generator.engine import Logprobs, Step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Writer:
    """Knows how many tokens there were, and the text that waits for more."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        unforced_ends: frozenset[int],
        citations: CitationFilter | None = None,
    ) -> None:
        """`unforced_ends` are the tokens by which the model says that it is done."""
        self._detokenizer = Detokenizer(tokenizer)
        self._max_tokens = max_tokens
        self._unforced_ends = unforced_ends
        self._citations = citations
        self._num_tokens = 0

    def write(self, token_id: int, is_last: bool, logprobs: Logprobs | None = None) -> Step:
        """The step that this token makes."""
        step = self._step(token_id, is_last)
        return self._citations.check(step) if self._citations else step

    def _step(self, token_id: int, is_last: bool) -> Step:
        self._num_tokens += 1
        text = self._detokenizer.add(token_id)
        if not is_last:
            return Step(text, num_tokens=1)
        is_cut = self._num_tokens == self._max_tokens and token_id not in self._unforced_ends
        return Step(text + self._detokenizer.end(), num_tokens=1, finish="length" if is_cut else "stop")
