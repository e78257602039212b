"""Judges a passage by comparing its token vectors with the question's.

For question tokens q_1 … q_m and passage tokens p_1 … p_n, as the encoder's last hidden states at unit length,
special tokens left out, and weights w_i that grow as a token is rarer (they sum to 1),

    s_i      = max_j ⟨q_i, p_j⟩
    logit    = Σ_i w_i s_i + ½ ⟨q̄, p̄⟩
    evidence = −⅙ log Σ_i w_i e^(−6 s_i) + ½ ⟨q̄, p̄⟩

The first term of the logit is MaxSim (Khattab and Zaharia, ColBERT, 2020, arXiv:2004.12832) as a mean, so that long
questions score no higher than short ones; it sees which words of the question the passage speaks of. The first term
of the evidence lies between that mean and the least s_i: it is small when the passage misses one word that matters,
however well it has the others, and so tells questions that a collection answers from those that it only resembles.
The second term of both is the cosine of the mean-pooled vectors q̄ and p̄ (special tokens included, as sentence
encoders pool), for which such encoders were trained. Without words on either side the first term is the least, −1.

`docs/quality.md` has the figures by which the formulas, ½ and 6 were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Encoding
from torch.nn.functional import normalize
from transformers import AutoModel

from chassis.config import Dtype
from chassis.pretrained import load_encoder, load_tokenizer
from chassis.tokens import estimate_tokens
from services.reranker.pairs import Judgement, Pair, PairTokenizer, cut, num_positions

LEAST_SIMILARITY = -1.0
COSINE_WEIGHT = 0.5
SHARPNESS = 6.0
"""Of the soft minimum. 0 would make it the mean, ∞ the minimum."""


@dataclass(frozen=True)
class Texts:
    """Texts as the encoder reads them."""

    inputs: dict[str, torch.Tensor]
    is_word: torch.Tensor
    """(texts, longest) bool: neither a special token nor padding."""
    num_tokens_by_row: list[int]


@dataclass(frozen=True)
class Batch:
    """Pairs: every question once, every passage, and who belongs to whom."""

    questions: Texts
    passages: Texts
    rows_by_question: list[list[int]]
    """For each question, the rows of its passages."""
    weights_by_question: list[list[float]]
    """For each question, the weights of its words."""
    truncated_tokens_by_row: list[int]

    @property
    def num_tokens(self) -> int:
        return sum(self.questions.num_tokens_by_row) + sum(self.passages.num_tokens_by_row)

    @property
    def num_padded_tokens(self) -> int:
        return self.questions.is_word.numel() + self.passages.is_word.numel()


@dataclass(frozen=True)
class Vectors:
    """What the encoder made of texts, at unit length, float32."""

    tokens: torch.Tensor
    """(texts, longest, dimension)"""
    is_word: torch.Tensor
    """(texts, longest) bool"""
    pooled: torch.Tensor
    """(texts, dimension)"""


class LateInteraction:
    """MaxSim over any encoder's token vectors, and the cosine of its sentence vectors."""

    def __init__(self, path: Path, device: str, max_length: int, dtype: Dtype = "float32") -> None:
        self._model, self.pads = load_encoder(AutoModel, path, device, dtype)
        self._device = device
        self._tokenizer = PairTokenizer(load_tokenizer(path))
        self._max_length = num_positions(self._model, self._tokenizer, max_length)
        self._room = self._max_length - self._tokenizer.num_special_tokens(is_pair=False)
        self.max_question_tokens = self._room

    def count_tokens(self, question: str) -> int:
        """Tokens of a question; more than `max_question_tokens` cannot be judged."""
        return self._tokenizer.count(question)

    def cost(self, pair: Pair) -> int:
        """About how many tokens judging the pair takes, were it alone."""
        texts = (pair.question, pair.passage)
        return sum(min(self._max_length, estimate_tokens(text)) for text in texts)

    def prepare(self, pairs: Sequence[Pair]) -> Batch:
        """Question and passage apart, the passage cut to what the encoder reads."""
        rows_by_question: dict[str, list[int]] = {}
        for row, pair in enumerate(pairs):
            rows_by_question.setdefault(pair.question, []).append(row)
        passages = self._tokenizer.split([pair.passage for pair in pairs])
        truncated = [cut(passage, self._room) for passage in passages]
        questions = self._tokenizer.split(list(rows_by_question))
        weights = [self._tokenizer.rarities(question) for question in questions]
        return Batch(self._texts(questions), self._texts(passages), list(rows_by_question.values()), weights, truncated)

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[Judgement]:
        """One judgement per pair. A pair's logit does not depend on the others (within 1e-5)."""
        questions, passages = self._encode(batch.questions), self._encode(batch.passages)
        logits = torch.empty(len(batch.truncated_tokens_by_row), device=self._device)
        evidence = torch.empty_like(logits)
        num_tokens = list(batch.passages.num_tokens_by_row)
        for number, rows in enumerate(batch.rows_by_question):
            words = questions.tokens[number][questions.is_word[number]]
            weights = torch.tensor(batch.weights_by_question[number], device=self._device)
            similarities = max_similarities(words, passages.tokens[rows], passages.is_word[rows])
            cosines = COSINE_WEIGHT * (passages.pooled[rows] @ questions.pooled[number])
            logits[rows] = mean(similarities, weights) + cosines
            evidence[rows] = soft_minimum(similarities, weights) + cosines
            num_tokens[rows[0]] += batch.questions.num_tokens_by_row[number]
        scores = zip(logits.tolist(), evidence.tolist(), num_tokens, batch.truncated_tokens_by_row, strict=True)
        return [Judgement(*score) for score in scores]

    def _texts(self, texts: Sequence[Encoding]) -> Texts:
        framed = [self._tokenizer.frame(text) for text in texts]
        lengths = [len(encoding) for encoding in framed]
        return Texts(self._tokenizer.pad(framed), self._tokenizer.mark_words(framed), lengths)

    def _encode(self, texts: Texts) -> Vectors:
        inputs = {name: tensor.to(self._device) for name, tensor in texts.inputs.items()}
        states = self._model(**inputs).last_hidden_state.float()
        is_read = inputs["attention_mask"].unsqueeze(2).to(states.dtype)
        pooled = (states * is_read).sum(1) / is_read.sum(1)
        return Vectors(normalize(states, dim=2), texts.is_word.to(self._device), normalize(pooled, dim=1))


def max_similarities(words: torch.Tensor, passages: torch.Tensor, is_word: torch.Tensor) -> torch.Tensor:
    """For each passage and each of the question's words, the best similarity that one of the passage's words has.

    `words` is (question words, dimension), `passages` (passages, longest, dimension), `is_word` (passages,
    longest) bool; all vectors at unit length. Returns (passages, question words).
    """
    similarities = words @ passages.transpose(1, 2)
    return similarities.masked_fill(~is_word.unsqueeze(1), LEAST_SIMILARITY).amax(2)


def mean(similarities: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Over the question's words: `similarities` is (passages, words), `weights` (words,) above 0; (passages,)."""
    if not len(weights):
        return similarities.new_full((len(similarities),), LEAST_SIMILARITY)
    return similarities @ (weights / weights.sum())


def soft_minimum(similarities: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Between the weighted mean and the minimum over the question's words, shapes as in `mean`."""
    if not len(weights):
        return similarities.new_full((len(similarities),), LEAST_SIMILARITY)
    shares = torch.log(weights / weights.sum())
    return -torch.logsumexp(shares - SHARPNESS * similarities, dim=1) / SHARPNESS
