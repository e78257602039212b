"""The prompt: question and passages as token ids, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.engine import Passage, Prompt, QuestionTooLong
from services.generator.prompts.frame import Frame
from services.generator.prompts.prompt_template import PromptTemplate

MIN_PASSAGE_TOKENS = 16
"""A room smaller than this is no room for a passage, unless the passage is shorter."""


@dataclass(frozen=True)
class TokenPrompt(Prompt):
    """One row of token ids, control tokens included."""

    token_ids: tuple[int, ...]
    read_passage_ids: tuple[str, ...] = ()
    """The passages in it. The first has the number 1."""
    template: str = ""
    """Name and version of the prompt template."""
    asks_citations: bool = False
    """Whether the model was asked to cite passages by number."""


def fit(
    question: str, passages: Sequence[Passage], template: PromptTemplate, frame: Frame, max_tokens: int
) -> TokenPrompt:
    """What the template tells, within `max_tokens`. Raises QuestionTooLong."""
    before, read, after = _encode(question, passages, template, frame)
    room = max_tokens - len(before) - len(after)
    num_kept = num_that_fit([len(ids) for ids in read], room)
    body = [token_id for ids in read[:num_kept] for token_id in ids]
    token_ids = (*before, *body[:room], *after)
    return TokenPrompt(
        num_tokens=len(token_ids),
        num_padded_tokens=len(token_ids),
        truncated_tokens=max(0, len(body) - room),
        dropped_passage_ids=dropped(passages, num_kept),
        token_ids=token_ids,
        read_passage_ids=tuple(passage.passage_id for passage in passages[:num_kept]),
        template=template.versioned_name,
        asks_citations=template.citations,
    )


def _encode(
    question: str, passages: Sequence[Passage], template: PromptTemplate, frame: Frame
) -> tuple[list[int], list[list[int]], list[int]]:
    """The ids before the passages, those of each passage, and the ids after them."""
    told = template.lay_out(question, passages)
    first, *others = [*told.before, *told.passages, *told.after]
    pieces = frame.encode([frame.lead + first, *others])
    num_before, num_read = len(told.before), len(told.before) + len(told.passages)
    before = [*frame.before, *(token_id for ids in pieces[:num_before] for token_id in ids)]
    after = [*(token_id for ids in pieces[num_read:] for token_id in ids), *frame.after]
    return before, pieces[num_before:num_read], after


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
