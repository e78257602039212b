"""Encoder-decoders written by CTranslate2, in whole batches. Imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chassis import pretrained
from services.generator import citations, frame
from services.generator import prompt as prompts
from services.generator.conversion import convert
from services.generator.engine import Answer, AnswerKind, Asked, Passage, Sampling, Step
from services.generator.prompt import TokenPrompt
from services.generator.prompt_template import DEFAULTS, PromptTemplate, find
from services.generator.rules import ends, of_beams, unforced_ends
from services.generator.vocabulary import Vocabulary
from services.generator.writer import Writer

NO_LIMIT = 0


@dataclass(frozen=True)
class Batch:
    """Prompts that are read together."""

    questions: Sequence[Asked[TokenPrompt]]

    @property
    def num_tokens(self) -> int:
        return sum(one.prompt.num_tokens for one in self.questions)

    @property
    def num_padded_tokens(self) -> int:
        return len(self.questions) * max(one.prompt.num_tokens for one in self.questions)


@dataclass(frozen=True)
class Shape:
    """How an answer is written."""

    max_tokens: int
    min_tokens: int
    num_beams: int

    @property
    def likeness(self) -> tuple[int, int, int]:
        """What must be equal for answers to be written at once. Each may have its own greatest length, unless it is
        searched: a search ranks by it, and cannot be stopped."""
        return self.min_tokens, self.num_beams, self.max_tokens if self.num_beams > 1 else 0


class Translator:
    """An engine, and a model in the batcher's sense. Answers are greedy, or CTranslate2's own beam search."""

    kind: AnswerKind = "generated"
    pads = True

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
        num_positions = self._model.num_positions
        self.max_prompt_tokens = min(max_prompt_tokens, num_positions or max_prompt_tokens)
        self.max_output_tokens = min(max_output_tokens, (num_positions or max_output_tokens + 1) - 1)

    # The engine

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def fit(self, question: str, passages: Sequence[Passage]) -> TokenPrompt:
        return prompts.fit(question, passages, self._template, self._frame, self.max_prompt_tokens)

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        """One question alone, in one step."""
        (answer,) = self.run(self.prepare([Asked(prompt, sampling)]))
        yield answer.step()

    # The batcher's model

    def cost(self, item: Asked[TokenPrompt]) -> int:
        return item.prompt.num_padded_tokens * item.sampling.num_beams

    def prepare(self, items: Sequence[Asked[TokenPrompt]]) -> Batch:
        return Batch(items)

    def run(self, batch: Batch) -> list[Answer]:
        answers: dict[int, Answer] = {}
        shapes = [self._shape(one.sampling) for one in batch.questions]
        likenesses = [shape.likeness for shape in shapes]
        places = sorted(range(len(shapes)), key=likenesses.__getitem__)
        for _, group in itertools.groupby(places, key=likenesses.__getitem__):
            alike = list(group)
            asked = [batch.questions[place].prompt for place in alike]
            written = self._written(asked, [shapes[place] for place in alike])
            for place, token_ids in zip(alike, written, strict=True):
                answers[place] = self._answer(batch.questions[place], token_ids, shapes[place])
        return [answers[place] for place in range(len(shapes))]

    def _shape(self, sampling: Sampling) -> Shape:
        max_tokens = min(sampling.max_output_tokens, self.max_output_tokens)
        return Shape(max_tokens, self._least(sampling, max_tokens), sampling.num_beams)

    def _least(self, sampling: Sampling, max_tokens: int) -> int:
        """How many tokens must be written before the answer may end."""
        if sampling.min_output_tokens is not None:
            return min(sampling.min_output_tokens, max_tokens)
        settings = self._model.settings
        # The length counts what the decoder reads first.
        length = min(settings.min_length or 0, max_tokens) - 1
        return max(length, min(settings.min_new_tokens or 0, max_tokens), 0)

    def _written(self, asked: Sequence[TokenPrompt], shapes: Sequence[Shape]) -> list[list[int]]:
        """The ids of each answer, the token that ends it included. The shapes are alike."""
        settings = self._model.settings
        forced_end = settings.forced_eos_token_id
        num_free = [shape.max_tokens - (forced_end is not None) for shape in shapes]
        answers = self._translated(asked, shapes[0], num_free) if any(num_free) else [[] for _ in asked]
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

    def _answer(self, question: Asked[TokenPrompt], token_ids: Sequence[int], shape: Shape) -> Answer:
        writer = Writer(
            self._tokenizer,
            shape.max_tokens,
            unforced_ends(self._model.settings),
            stop=question.sampling.stop,
            min_tokens=shape.min_tokens,
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
