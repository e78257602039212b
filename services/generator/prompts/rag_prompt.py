"""What a RAG model reads: one row of token ids for each passage, with the question behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.generator.engine import Passage, Prompt, QuestionTooLong
from services.generator.prompts.prompt import MIN_PASSAGE_TOKENS, dropped, num_that_fit
from services.generator.prompts.vocabulary import Vocabulary


@dataclass(frozen=True)
class RowForm:
    """How a checkpoint joins passage and question: the fields of its RagConfig."""

    title_sep: str
    doc_sep: str
    prefix: str
    max_row_tokens: int
    """Control tokens included."""
    max_passages: int
    """`n_docs`."""


@dataclass(frozen=True)
class RagPrompt(Prompt):
    """A row for each passage that is read, best first."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids, control tokens included."""
    passage_ids: tuple[str, ...]
    scores: tuple[float, ...]
    """Inner products of question and passage: the model's `doc_scores`."""


def fit(
    question: str, passages: Sequence[Passage], form: RowForm, vocabulary: Vocabulary, max_tokens: int
) -> RagPrompt:
    """The rows of the first `n_docs` passages, as many as `max_tokens` hold together and at least one.

    A row is `prefix title title_sep text doc_sep question`, as transformers' `RagRetriever.postprocess_docs` has it.
    One that is too long loses the end of the passage, where transformers would cut the question.

    Raises QuestionTooLong.
    """
    room = min(form.max_row_tokens, max_tokens) - vocabulary.num_control_tokens
    read = passages[: form.max_passages]
    heads = [_head(passage, form) for passage in read]
    tail = form.doc_sep + question
    whole = vocabulary.encode([_single_spaced(head + tail) for head in heads])
    rows = [
        vocabulary.wrap(ids if len(ids) <= room else _cut(head, tail, vocabulary, room))
        for head, ids in zip(heads, whole, strict=True)
    ]
    num_kept = num_that_fit([len(row) for row in rows], max_tokens)
    rows = rows[:num_kept]
    return RagPrompt(
        num_tokens=sum(map(len, rows)),
        num_padded_tokens=len(rows) * max(map(len, rows)),
        truncated_tokens=sum(max(0, len(ids) - room) for ids in whole[:num_kept]),
        dropped_passage_ids=dropped(passages, num_kept),
        rows=tuple(map(tuple, rows)),
        passage_ids=tuple(passage.passage_id for passage in read[:num_kept]),
        scores=tuple(passage.score for passage in read[:num_kept]),
    )


def _head(passage: Passage, form: RowForm) -> str:
    title = passage.title.removeprefix('"').removesuffix('"')
    return form.prefix + title + form.title_sep + passage.text


def _cut(head: str, tail: str, vocabulary: Vocabulary, room: int) -> list[int]:
    """The whole question, and as much of the passage as there is room for."""
    read, asked = vocabulary.encode([_single_spaced(head), _single_spaced(tail)])
    left = room - len(asked)
    if left < min(len(read), MIN_PASSAGE_TOKENS):
        raise QuestionTooLong(f"leaves no room for a passage: {max(0, left):,} tokens are left in its row")
    return read[:left] + asked


def _single_spaced(text: str) -> str:
    return text.replace("  ", " ")
