"""Which sentences answer best. Arrays in, positions out. `docs/quality.md` has the figures of the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.generator.engines.sentences import Kind

MAX_SENTENCES = 4

OVERLAP_WEIGHT = 0.8
"""Of the question's words, weighted by rarity, that the sentence has; beside a similarity of up to 1."""
RANK_WEIGHT = 0.4
"""Of being in the best passage; a half, a third … of it in the next ones."""
MIN_SHARE = 0.65
"""A further sentence is quoted from this share of the best one's score on."""
MAX_SIMILARITY = 0.85
"""Two sentences nearer than this say the same."""

ROW_PENALTY = 0.1
"""A table's row reads worse than prose."""
ANNOUNCES_PENALTY = 0.2
"""A sentence that ends in a colon announces what is not in it."""

CLOSING = "\"'”’»)]*_`」』）"


@dataclass(frozen=True)
class Claim:
    """A sentence that could be quoted."""

    passage: int
    """Position of its passage in the request, from 0."""
    start: int
    end: int
    """Where it stands in the passage's text."""
    text: str
    kind: Kind
    token_ids: tuple[int, ...]


def quotable(claims: Sequence[Claim]) -> list[Claim]:
    """The claims that may answer. Headings, code, and sentences that themselves ask (they resemble the question
    most and answer least) are among them only where there is nothing else."""
    return [one for one in claims if one.kind != "other" and not _ends_in(one, "?？")] or list(claims)


def choose(
    claims: Sequence[Claim],
    question_ids: Sequence[int],
    similarities: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> list[int]:
    """Positions of the claims to quote, in reading order: passages by their best claim, each from its top.

    `similarities` are those of question and claims; `vectors` has a normalised row per claim.
    """
    scores = similarities + OVERLAP_WEIGHT * _overlaps(claims, question_ids)
    scores += [RANK_WEIGHT / (1 + claim.passage) - _penalty(claim) for claim in claims]
    chosen: list[int] = []
    for one in np.argsort(-scores, kind="stable").tolist():
        if len(chosen) == MAX_SENTENCES or (chosen and scores[one] < MIN_SHARE * scores[chosen[0]]):
            break
        if all(_adds(claims[one], claims[other], vectors[one] @ vectors[other]) for other in chosen):
            chosen.append(one)
    passages = list(dict.fromkeys(claims[one].passage for one in chosen))
    return sorted(chosen, key=lambda one: (passages.index(claims[one].passage), claims[one].start))


def _overlaps(claims: Sequence[Claim], question_ids: Sequence[int]) -> NDArray[np.float32]:
    """The share of the question's tokens in each claim, each weighing as much as it is rare among the claims."""
    found = Counter(token_id for claim in claims for token_id in set(claim.token_ids))
    weight_by_id = {token_id: np.log((1 + len(claims)) / (0.5 + found[token_id])) for token_id in question_ids}
    total = sum(weight_by_id.values()) or 1.0  # a question of nothing but marks has no tokens
    return np.array(
        [sum(weight_by_id.get(token_id, 0.0) for token_id in set(claim.token_ids)) / total for claim in claims],
        dtype=np.float32,
    )


def _penalty(claim: Claim) -> float:
    return (claim.kind == "row") * ROW_PENALTY + _ends_in(claim, ":：") * ANNOUNCES_PENALTY


def _ends_in(claim: Claim, marks: str) -> bool:
    return claim.text.rstrip(CLOSING).endswith(tuple(marks))


def _adds(one: Claim, other: Claim, similarity: float) -> bool:
    overlapping = one.passage == other.passage and one.start < other.end and other.start < one.end
    repeated = one.text in other.text or other.text in one.text
    return not (overlapping or repeated or similarity > MAX_SIMILARITY)
