"""The prompt: question and passages as token ids, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.engine import Passage, Prompt, QuestionTooLong
from services.generator.vocabulary import Vocabulary

BEFORE_QUESTION = "question:"
BEFORE_PASSAGES = " context:"
"""The form in which T5 learnt to answer questions (Raffel et al. 2020, appendix D); BART models trained for
answering take it as well."""

MIN_PASSAGE_TOKENS = 16
"""A room smaller than this is no room for a passage, unless the passage is shorter."""


@dataclass(frozen=True)
class TokenPrompt(Prompt):
    """One row of token ids, control tokens included."""

    token_ids: tuple[int, ...]


def fit(question: str, passages: Sequence[Passage], vocabulary: Vocabulary, max_tokens: int) -> TokenPrompt:
    """`question: … context: …`, within `max_tokens`. Raises QuestionTooLong."""
    pieces = [BEFORE_QUESTION, f" {question}", BEFORE_PASSAGES, *(_piece(passage) for passage in passages)]
    before, asked, between, *read = vocabulary.encode(pieces)
    head = before + asked + between
    room = max_tokens - vocabulary.num_control_tokens - len(head)
    num_kept = num_that_fit([len(ids) for ids in read], room)
    body = [token_id for ids in read[:num_kept] for token_id in ids]
    token_ids = vocabulary.wrap(head + body[:room])
    return TokenPrompt(
        num_tokens=len(token_ids),
        num_padded_tokens=len(token_ids),
        truncated_tokens=max(0, len(body) - room),
        dropped_passage_ids=dropped(passages, num_kept),
        token_ids=tuple(token_ids),
    )


def num_that_fit(costs: Sequence[int], room: int) -> int:
    """How many of the first passages fit. At least one, which is then truncated.

    Raises QuestionTooLong where there is no room even for that.
    """
    if room < min(costs[0], MIN_PASSAGE_TOKENS):
        raise QuestionTooLong(f"leaves no room for a passage: {max(0, room):,} tokens are left in the prompt")
    used = 0
    for position, cost in enumerate(costs):
        used += cost
        if used > room:
            return max(1, position)
    return len(costs)


def dropped(passages: Sequence[Passage], num_kept: int) -> tuple[str, ...]:
    """The ids of the passages after the first `num_kept`, lowest-ranked first."""
    return tuple(passage.passage_id for passage in reversed(passages[num_kept:]))


def _piece(passage: Passage) -> str:
    return f" {passage.title}: {passage.text}" if passage.title else f" {passage.text}"
