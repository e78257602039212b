"""What every engine takes and gives. Engines know neither queues, nor gRPC, nor each other."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

Finish = Literal["stop", "length"]
AnswerKind = Literal["extractive", "generated"]


class QuestionTooLong(Exception):
    """The question leaves no room for a passage. The text tells the caller by how many tokens."""


@dataclass(frozen=True)
class Passage:
    """A passage to answer from."""

    passage_id: str
    text: str
    title: str = ""
    start: int = 0
    """Where `text` begins in its document, code points."""
    score: float = 0.0
    """Inner product of question and passage, for engines that weigh passages by it."""


@dataclass(frozen=True)
class Quote:
    """A verbatim piece of a passage. `start` and `end` are code points of the document."""

    passage_id: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Sampling:
    """How the answer is to be written."""

    max_output_tokens: int


@dataclass(frozen=True)
class Prompt:
    """What the model is going to read. Engines add their own form of it."""

    num_tokens: int
    """Control tokens included, padding excluded."""
    num_padded_tokens: int
    truncated_tokens: int
    """Tokens of the best passage that did not fit."""
    dropped_passage_ids: tuple[str, ...]
    """Lowest-ranked first."""


@dataclass(frozen=True)
class Step:
    """What one step of the model brought. A step may bring no text."""

    text: str = ""
    quotes: tuple[Quote, ...] = ()
    num_tokens: int = 0
    """Output tokens of this step."""
    finish: Finish | None = None
    """Why the answer ends here. None while it goes on."""


PromptT = TypeVar("PromptT", bound=Prompt)
PromptIn = TypeVar("PromptIn", bound=Prompt, contravariant=True)


class Engine(Protocol[PromptT]):
    """A way to answer. `generate` runs on the device's thread, one `next` a step; the rest on any thread."""

    kind: AnswerKind
    max_prompt_tokens: int
    max_output_tokens: int

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text costs, control tokens excluded."""
        ...

    def fit(self, question: str, passages: Sequence[Passage]) -> PromptT:
        """The prompt, within `max_prompt_tokens`. Passages are best first and the last are dropped first.

        Raises QuestionTooLong.
        """
        ...

    def generate(self, prompt: PromptT, sampling: Sampling) -> Generator[Step, None, None]:
        """The answer, step by step; the last step has `finish`. Nothing is computed between two `next`."""
        ...


class Flight(Protocol[PromptIn]):
    """Answers that are written together, a token each at a step. Lives on the device's thread."""

    def step(
        self, joining: Mapping[int, tuple[PromptIn, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Step | Exception]:
        """One step of every answer on its way, by its number: what it brought, or why it failed.

        Those of `leaving` get none and are forgotten, and so are those that failed or had their last step. Numbers
        are the caller's, each used once. Raises nothing on account of a single answer.
        """
        ...
