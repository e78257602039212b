"""What every engine takes and gives. Engines know neither queues, nor gRPC, nor each other."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

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
    min_output_tokens: int | None = None
    """Until there are so many, neither the model nor a stop string ends the answer. None: the checkpoint's."""
    temperature: float = 0.0
    """0 takes the likeliest token; more draws by chance."""
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    """Which tokens are drawn from. None: all."""
    seed: int | None = None
    """Of the draw. None: another one each time."""
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    """None: the checkpoint's."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer and are no part of it."""
    num_beams: int = 1
    """More than one: beam search, whose text comes in one piece."""
    num_top_logprobs: int | None = None
    """How many of the likeliest tokens are told beside each. None: no log-probabilities at all."""

    def within(self, max_output_tokens: int) -> Sampling:
        """The same for an engine that writes no more than so many."""
        return replace(self, max_output_tokens=min(self.max_output_tokens, max_output_tokens))


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
class Logprobs:
    """Log-probabilities of the tokens at one place, natural logarithms, by the model's scores before any rule."""

    chosen: float
    top: tuple[tuple[int, float], ...]
    """Ids of the likeliest tokens and theirs, likeliest first."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token and how likely it was."""

    token_id: int
    token: str
    """As the vocabulary spells it."""
    logprob: float


@dataclass(frozen=True)
class WrittenToken:
    """A token of the answer, and the likeliest ones at its place."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Citations:
    """What an answer cites by number."""

    passage_ids: tuple[str, ...] = ()
    """Each once, in the order of the text."""
    num_removed: int = 0
    """Those left out of the text because they named no passage that the model had read."""


@dataclass(frozen=True)
class Step:
    """What one step of the model brought. A step may bring no text."""

    text: str = ""
    quotes: tuple[Quote, ...] = ()
    num_tokens: int = 0
    """Output tokens of this step."""
    finish: Finish | None = None
    """Why the answer ends here. None while it goes on."""
    tokens: tuple[WrittenToken, ...] = ()
    """Those of this step, where log-probabilities are wanted."""
    stop: str | None = None
    """The stop string that ends the answer here."""
    citations: Citations | None = None
    """The whole answer's, in its last step, where the prompt asks for them."""


@dataclass(frozen=True)
class PutBack:
    """There was no memory for the answer in this step. When it joins again it goes on where it was, exactly, or begins
    anew where nobody has read any of it."""


class NoMemory(Exception):
    """There is no memory for the answer, and nobody else on the way who could give some back."""


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


@dataclass(frozen=True)
class Asked(Generic[PromptT]):
    """A prompt, and how it is to be answered."""

    prompt: PromptT
    sampling: Sampling


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    text: str
    num_tokens: int
    finish: Finish
    weight_by_passage_id: dict[str, float] = field(default_factory=dict)
    """p(passage | question, answer), where the engine weighs passages. The sum is one."""
    stop: str | None = None
    """The stop string that ended it."""
    citations: Citations | None = None
    """Where the prompt asks for them."""

    def step(self) -> Step:
        """All of it, in one."""
        return Step(self.text, num_tokens=self.num_tokens, finish=self.finish, stop=self.stop, citations=self.citations)


@runtime_checkable
class AnswersWhole(Protocol):
    """An engine that writes whole answers, many at a time. A model in the batcher's sense."""

    pads: bool

    def cost(self, item: Asked[Any]) -> int:
        """Tokens of the prompt, padding included."""
        ...

    def prepare(self, items: Sequence[Asked[Any]]) -> Any:
        """A batch."""
        ...

    def run(self, batch: Any) -> list[Answer]:
        """The answers, in the order of the questions."""
        ...


class Flight(Protocol[PromptIn]):
    """Answers that are written together, a token each at a step. Lives on the device's thread."""

    def step(
        self, joining: Mapping[int, tuple[PromptIn, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Step | PutBack | Exception]:
        """One step of every answer on its way, by its number: what it brought, or why it failed.

        Those of `leaving` get none and are forgotten, and so are those that failed or had their last step. Numbers
        are the caller's, each used once; one that was put back is on its way again when it joins again. Raises
        nothing on account of a single answer.
        """
        ...


class CachedFlight(Flight[PromptIn], Protocol[PromptIn]):
    """A flight whose answers take cache."""

    def token_bytes(self, prompt: PromptIn, sampling: Sampling) -> int:
        """Bytes that a token takes there, measured on a prompt that is read and forgotten."""
        ...


@runtime_checkable
class Flies(Protocol):
    """An engine whose answers can be written together."""

    def flight(self) -> CachedFlight[Any] | None:
        """None, with a line in the log, where those of its model cannot be."""
        ...
