"""The tokens of one answer become its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from services.generator.engine import Finish, Logprobs, Step, WrittenToken
from services.generator.text.citations import CitationFilter
from services.generator.text.detokenizer import Detokenizer
from services.generator.text.spelling import written
from services.generator.text.stop_strings import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Writer:
    """Knows how many tokens there were, and the text that waits for more."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        unforced_ends: frozenset[int],
        stop: Sequence[str] = (),
        min_tokens: int = 0,
        citations: CitationFilter | None = None,
    ) -> None:
        """`unforced_ends` are the tokens by which the model says that it is done, `stop` the strings that end the
        answer once it has `min_tokens`."""
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._stop_strings = StopStrings(stop)
        self._max_tokens = max_tokens
        self._min_tokens = min_tokens
        self._unforced_ends = unforced_ends
        self._citations = citations
        self._num_tokens = 0

    def write(self, token_id: int, is_last: bool, logprobs: Logprobs | None = None) -> Step:
        """The step that this token makes. With `finish` it is the last, whether the token is or not."""
        step = self._step(token_id, is_last, logprobs)
        return self._citations.check(step) if self._citations else step

    def write_all(self, token_ids: Sequence[int]) -> Step:
        """One step with all of an answer, up to the stop string that ends it."""
        text = ""
        for number, token_id in enumerate(token_ids, start=1):
            step = self.write(token_id, is_last=number == len(token_ids))
            text += step.text
            if step.finish:
                return replace(step, text=text, num_tokens=number)
        raise AssertionError("the last token ends an answer")

    def _step(self, token_id: int, is_last: bool, logprobs: Logprobs | None) -> Step:
        self._num_tokens += 1
        text = self._detokenizer.add(token_id)
        if is_last:
            text += self._detokenizer.end()
        text, tokens = self._without_stop(text), self._told(token_id, logprobs)
        if self._stop_strings.found:
            return Step(text, num_tokens=1, finish="stop", tokens=tokens, stop=self._stop_strings.found)
        if not is_last:
            return Step(text, num_tokens=1, tokens=tokens)
        is_cut = self._num_tokens == self._max_tokens and token_id not in self._unforced_ends
        finish: Finish = "length" if is_cut else "stop"
        return Step(text + self._stop_strings.end(), num_tokens=1, finish=finish, tokens=tokens)

    def _told(self, token_id: int, logprobs: Logprobs | None) -> tuple[WrittenToken, ...]:
        """The token with its log-probabilities, where they are wanted."""
        return () if logprobs is None else (written(self._tokenizer, token_id, logprobs),)

    def _without_stop(self, text: str) -> str:
        if self._num_tokens < self._min_tokens:
            return self._stop_strings.pass_over(text)
        return self._stop_strings.add(text)
