"""What engines that write whole answers, many at a time, have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.generator.engine import Answer, AnswerKind, Asked, PromptT, Sampling, Step
from services.generator.prompts.vocabulary import Vocabulary

ShapeT = TypeVar("ShapeT", bound=Hashable)


@dataclass(frozen=True)
class Batch(Generic[PromptT]):
    """Questions that are read together."""

    questions: Sequence[Asked[PromptT]]
    row_lengths: Sequence[int]
    """Tokens of every row that the model reads."""

    @property
    def num_tokens(self) -> int:
        return sum(self.row_lengths)

    @property
    def num_padded_tokens(self) -> int:
        return len(self.row_lengths) * max(self.row_lengths)


class BatchEngine(ABC, Generic[PromptT, ShapeT]):
    """An engine, and a model in the batcher's sense. Of a batch those questions are answered at once that are of one
    shape."""

    kind: AnswerKind = "generated"
    pads = True
    _vocabulary: Vocabulary

    @abstractmethod
    def _shape(self, question: Asked[PromptT]) -> ShapeT:
        """What must be equal for questions to be answered at once."""

    @abstractmethod
    def _write(self, questions: Sequence[Asked[PromptT]], shape: ShapeT) -> Sequence[Answer]:
        """The answers of questions of one shape, in their order."""

    @abstractmethod
    def _row_lengths(self, prompt: PromptT) -> Sequence[int]:
        """Tokens of each row that the model reads of a prompt."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def generate(self, prompt: PromptT, sampling: Sampling) -> Generator[Step, None, None]:
        """One question alone, in one step."""
        (answer,) = self.run(self.prepare([Asked(prompt, sampling)]))
        yield answer.step()

    def prepare(self, items: Sequence[Asked[PromptT]]) -> Batch[PromptT]:
        return Batch(items, [length for one in items for length in self._row_lengths(one.prompt)])

    def run(self, batch: Batch[PromptT]) -> list[Answer]:
        places_by_shape: dict[ShapeT, list[int]] = {}
        for place, question in enumerate(batch.questions):
            places_by_shape.setdefault(self._shape(question), []).append(place)
        answers: dict[int, Answer] = {}
        for shape, places in places_by_shape.items():
            alike = self._write([batch.questions[place] for place in places], shape)
            answers |= zip(places, alike, strict=True)
        return [answers[place] for place in range(len(batch.questions))]
