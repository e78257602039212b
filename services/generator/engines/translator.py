"""Encoder-decoders written by CTranslate2, in whole batches. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chassis import pretrained
from services.generator.engine import Answer, Asked, Passage
from services.generator.engines import bounds
from services.generator.engines.batch_engine import BatchEngine
from services.generator.engines.conversion import convert
from services.generator.prompts import frame
from services.generator.prompts import prompt as prompts
from services.generator.prompts.prompt import TokenPrompt
from services.generator.prompts.prompt_template import DEFAULTS, PromptTemplate, find
from services.generator.prompts.vocabulary import Vocabulary
from services.generator.rows.rules import ends, least_new_tokens, of_beams, unforced_ends
from services.generator.text import citations
from services.generator.text.writer import Writer

NO_LIMIT = 0


@dataclass(frozen=True)
class Shape:
    """What must be equal for answers to be written at once."""

    min_tokens: int
    num_beams: int
    max_tokens: int | None
    """None: each may have its own. A search ranks by its greatest length, and cannot be stopped."""


class Translator(BatchEngine[TokenPrompt, Shape]):
    """Answers are greedy, or CTranslate2's own beam search."""

    def __init__(
        self,
        path: Path,
        device: str,
        max_prompt_tokens: int,
        max_output_tokens: int,
        compute_type: str = "int8",
        template: PromptTemplate | None = None,
    ) -> None:
        """Raises ConfigError: nothing that can be loaded, converted or asked."""
        self._tokenizer = pretrained.load_tokenizer(path)
        self._model = convert(path, device, compute_type, self._tokenizer)
        self._number_by_word = {word: number for number, word in enumerate(self._model.words)}
        self._vocabulary = Vocabulary(self._tokenizer)
        self._template = template or find(DEFAULTS["ctranslate2"])
        self._frame = frame.plain(self._vocabulary, self._template)
        self.max_prompt_tokens, self.max_output_tokens = bounds.of_two_texts(
            self._model.num_positions, max_prompt_tokens, max_output_tokens
        )

    def fit(self, question: str, passages: Sequence[Passage]) -> TokenPrompt:
        return prompts.fit(question, passages, self._template, self._frame, self.max_prompt_tokens)

    def cost(self, item: Asked[TokenPrompt]) -> int:
        return item.prompt.num_padded_tokens * item.sampling.num_beams

    def _row_lengths(self, prompt: TokenPrompt) -> Sequence[int]:
        return [prompt.num_tokens]

    def _shape(self, question: Asked[TokenPrompt]) -> Shape:
        sampling = question.sampling.within(self.max_output_tokens)
        min_tokens = least_new_tokens(self._model.settings, sampling)
        return Shape(min_tokens, sampling.num_beams, sampling.max_output_tokens if sampling.num_beams > 1 else None)

    def _write(self, questions: Sequence[Asked[TokenPrompt]], shape: Shape) -> Sequence[Answer]:
        max_tokens = [min(one.sampling.max_output_tokens, self.max_output_tokens) for one in questions]
        written = self._written([one.prompt for one in questions], shape, max_tokens)
        return [
            self._answer(question, token_ids, most, shape.min_tokens)
            for question, token_ids, most in zip(questions, written, max_tokens, strict=True)
        ]

    def _written(self, asked: Sequence[TokenPrompt], shape: Shape, max_tokens: Sequence[int]) -> list[list[int]]:
        """The ids of each answer, the token that ends it included."""
        settings = self._model.settings
        forced_end = settings.forced_eos_token_id
        num_free = [most - (forced_end is not None) for most in max_tokens]
        answers = self._translated(asked, shape, num_free) if any(num_free) else [[] for _ in asked]
        if forced_end is None:
            return answers
        last = int(np.min(forced_end))
        return [ids if ids and ids[-1] in ends(settings) else [*ids, last] for ids in answers]

    def _translated(self, asked: Sequence[TokenPrompt], shape: Shape, max_tokens: Sequence[int]) -> list[list[int]]:
        """`max_tokens` are those of each, not all 0."""
        settings, words = self._model.settings, self._model.words
        first = settings.forced_bos_token_id
        longest = max(max_tokens)
        results = self._model.translator.translate_batch(
            [[words[number] for number in prompt.token_ids] for prompt in asked],
            None if first is None else [[words[first]]] * len(asked),
            beam_size=shape.num_beams,
            max_decoding_length=longest,
            min_decoding_length=min(shape.min_tokens, longest),
            max_input_length=NO_LIMIT,
            end_token=sorted(ends(settings)),
            return_end_token=True,
            no_repeat_ngram_size=settings.no_repeat_ngram_size or 0,
            suppress_sequences=self._suppressed(),
            length_penalty=of_beams(settings).get("length_penalty", 1.0),
            callback=_stops_at(max_tokens),
        )
        # Who may have none has one: it is stopped after a token.
        return [
            [self._number(word) for word in result.hypotheses[0][:most]]
            for result, most in zip(results, max_tokens, strict=True)
        ]

    def _number(self, word: str) -> int:
        """The converter names what a model has beyond its tokenizer's tokens. Such a token has no text."""
        return self._number_by_word.get(word, self._model.settings.pad_token_id or 0)

    def _suppressed(self) -> list[list[str]] | None:
        """Each a sequence of one token."""
        words = self._model.words
        return [[words[number]] for number in self._model.settings.suppress_tokens or () if number < len(words)] or None

    def _answer(
        self, question: Asked[TokenPrompt], token_ids: Sequence[int], max_tokens: int, min_tokens: int
    ) -> Answer:
        writer = Writer(
            self._tokenizer,
            max_tokens,
            unforced_ends(self._model.settings),
            stop=question.sampling.stop,
            min_tokens=min_tokens,
            citations=citations.of(question.prompt),
        )
        step = writer.write_all(token_ids)
        assert step.finish
        return Answer(step.text, step.num_tokens, step.finish, stop=step.stop, citations=step.citations)


def _stops_at(max_tokens: Sequence[int]) -> Callable[[Any], bool] | None:
    """Whether an answer that has had this step is as long as it may be. None: all end alike."""
    if len(set(max_tokens)) == 1:
        return None
    return lambda step: step.step + 1 >= max_tokens[step.batch_id]
