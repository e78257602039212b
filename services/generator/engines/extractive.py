"""Quotes instead of prose: the sentences that answer best, verbatim, each with its citation."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize
from transformers import AutoModel

from chassis import pretrained
from services.generator.engine import AnswerKind, Passage, Prompt, Quote, Sampling, Step
from services.generator.engines import evidence
from services.generator.engines.evidence import Claim
from services.generator.engines.sentences import split
from services.generator.prompts.prompt import dropped, num_that_fit
from services.generator.prompts.vocabulary import Vocabulary
from services.generator.rows import padding

STEP_TOKENS = 1_024
"""Padded tokens in one step: a cancelled request goes on for no longer than this takes."""

MAX_STRETCH = 1.5
"""The longest row of a step by its shortest: what is longer waits for the next, for padding costs as text does."""


@dataclass(frozen=True)
class SentencePrompt(Prompt):
    """The question and every sentence as rows of their own."""

    passages: tuple[Passage, ...]
    claims: tuple[Claim, ...]
    question_ids: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    """Token ids with control tokens: first the question's, as many as its length needs, then one per claim."""
    steps: tuple[tuple[int, ...], ...]
    """Positions in `rows` that are computed together."""


class Extractive:
    """Reads with a sentence model (mean of the token vectors, normalised, as all-MiniLM-L6-v2)."""

    kind: AnswerKind = "extractive"

    def __init__(self, path: Path, device: str, max_prompt_tokens: int, max_output_tokens: int) -> None:
        self._tokenizer = pretrained.load_tokenizer(path)
        self._model = pretrained.load_model(AutoModel, path, device)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._max_row_tokens = self._model.config.max_position_embeddings - self._vocabulary.num_control_tokens
        self.max_prompt_tokens = max_prompt_tokens
        self.max_output_tokens = max_output_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def fit(self, question: str, passages: Sequence[Passage]) -> SentencePrompt:
        claims = self._claims(passages)
        question_ids = self._vocabulary.encode([question])[0]
        asked = [self._row(window) for window in self._windows(question_ids)]
        costs = [0] * len(passages)
        for claim in claims:
            costs[claim.passage] += self._cost(claim)
        room = self.max_prompt_tokens - sum(map(len, asked))
        # A passage without a claim costs nothing, and is nothing to answer from: the first that has one stays.
        num_kept = max(num_that_fit(costs, room), claims[0].passage + 1)
        read = self._within(room, [claim for claim in claims if claim.passage < num_kept])
        rows = (*asked, *(self._row(claim.token_ids) for claim in read))
        steps = _steps(rows)
        num_tokens = sum(map(len, rows))
        return SentencePrompt(
            num_tokens=num_tokens,
            num_padded_tokens=sum(_padded(len(rows[step[-1]]), len(step)) for step in steps),
            truncated_tokens=sum(costs[:num_kept]) + sum(map(len, asked)) - num_tokens,
            dropped_passage_ids=dropped(passages, num_kept),
            passages=tuple(passages),
            claims=tuple(read),
            question_ids=tuple(question_ids),
            rows=rows,
            steps=steps,
        )

    def generate(self, prompt: SentencePrompt, sampling: Sampling) -> Generator[Step, None, None]:
        vectors = np.empty((len(prompt.rows), self._model.config.hidden_size), dtype=np.float32)
        for step in prompt.steps:
            vectors[list(step)] = self._encode([prompt.rows[row] for row in step])
            yield Step()
        claims = self._best(prompt, vectors)
        whole = self._bounded(claims, sampling.max_output_tokens)
        is_cut = len(whole) < len(claims) or whole[-1] is not claims[-1]
        for number, claim in enumerate(whole, start=1):
            is_last = number == len(whole)
            before = "" if number == 1 else " " if claim.passage == whole[number - 2].passage else "\n"
            yield Step(
                f"{before}{claim.text} [{claim.passage + 1}]",
                (_quote(prompt.passages[claim.passage], claim),),
                len(claim.token_ids),
                ("length" if is_cut else "stop") if is_last else None,
            )

    def _claims(self, passages: Sequence[Passage]) -> list[Claim]:
        found = [(place, one) for place, passage in enumerate(passages) for one in split(passage.text)]
        texts = [passages[place].text[one.start : one.end] for place, one in found]
        return evidence.quotable(
            [
                Claim(place, one.start, one.end, text, one.kind, tuple(ids))
                for (place, one), text, ids in zip(found, texts, self._vocabulary.encode(texts), strict=True)
            ]
        )

    def _windows(self, ids: Sequence[int]) -> list[Sequence[int]]:
        size = self._max_row_tokens
        return [ids[start : start + size] for start in range(0, max(1, len(ids)), size)]

    def _row(self, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._vocabulary.wrap(ids[: self._max_row_tokens]))

    def _cost(self, claim: Claim) -> int:
        return len(claim.token_ids) + self._vocabulary.num_control_tokens

    def _within(self, room: int, claims: Sequence[Claim]) -> list[Claim]:
        """The first claims that fit, and at least one."""
        used = itertools.accumulate(map(self._cost, claims))
        return list(claims[: max(1, sum(tokens <= room for tokens in used))])

    @torch.inference_mode()
    def _encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """One normalised vector a row, shape (rows, hidden size)."""
        ids, mask = padding.pad(rows, self._model.device), padding.mask(list(map(len, rows)), self._model.device)
        tokens = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        means = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        vectors: NDArray[np.float32] = normalize(means, dim=1).float().cpu().numpy()
        return vectors

    def _best(self, prompt: SentencePrompt, vectors: NDArray[np.float32]) -> list[Claim]:
        num_asked = len(prompt.rows) - len(prompt.claims)
        asked, read = vectors[:num_asked].mean(axis=0), vectors[num_asked:]
        similarities = read @ (asked / np.linalg.norm(asked))
        chosen = evidence.choose(prompt.claims, prompt.question_ids, similarities, read)
        return [prompt.claims[position] for position in chosen]

    def _bounded(self, claims: Sequence[Claim], max_tokens: int) -> list[Claim]:
        """The first claims of at most so many tokens. Where there is no room for one, its beginning."""
        used = itertools.accumulate(len(claim.token_ids) for claim in claims)
        num_whole = sum(tokens <= max_tokens for tokens in used)
        return list(claims[:num_whole]) or [self._beginning(claims[0], max_tokens)]

    def _beginning(self, claim: Claim, num_tokens: int) -> Claim:
        encoded = self._tokenizer(claim.text, add_special_tokens=False, return_offsets_mapping=True)
        num_characters = encoded["offset_mapping"][num_tokens - 1][1]
        return replace(
            claim,
            text=claim.text[:num_characters],
            end=claim.start + num_characters,
            token_ids=claim.token_ids[:num_tokens],
        )


def _steps(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Rows of like length together, each step's longest last."""
    steps: list[list[int]] = [[]]
    for row in sorted(range(len(rows)), key=lambda row: len(rows[row])):
        if steps[-1] and not _is_like(rows, steps[-1], row):
            steps.append([])
        steps[-1].append(row)
    return tuple(map(tuple, steps))


def _is_like(rows: Sequence[Sequence[int]], step: Sequence[int], row: int) -> bool:
    length = len(rows[row])
    return length <= MAX_STRETCH * len(rows[step[0]]) and _padded(length, len(step) + 1) <= STEP_TOKENS


def _padded(longest: int, num_rows: int) -> int:
    return longest * num_rows


def _quote(passage: Passage, claim: Claim) -> Quote:
    return Quote(passage.passage_id, claim.text, passage.start + claim.start, passage.start + claim.end)
