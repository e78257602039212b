"""Judges a passage by comparing its token vectors with the question's.

For question tokens q_1 … q_m and passage tokens p_1 … p_n, as the encoder's last hidden states at unit length,
special tokens left out, and weights w_i that grow as a token is rarer (they sum to 1),

    s_i      = max_j ⟨q_i, p_j⟩
    logit    = Σ_i w_i s_i + ¾ ⟨q̄, p̄⟩
    evidence = −⅙ log Σ_i w_i e^(−6 s_i) + ½ ⟨q̄, p̄⟩

The first term of the logit is MaxSim (Khattab and Zaharia, ColBERT, 2020, arXiv:2004.12832) as a mean, so that long
questions score no higher than short ones; it sees which words of the question the passage speaks of. The first term
of the evidence lies between that mean and the least s_i: it is small when the passage misses one word that matters,
however well it has the others, and so tells questions that a collection answers from those that it only resembles.
The second term of both is the cosine of the mean-pooled vectors q̄ and p̄ (special tokens included, as sentence
encoders pool), for which such encoders were trained. Without words on either side the first term is the least, −1.

`docs/quality.md` has the figures by which the formulas, ¾, ½ and 6 were chosen.
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
from services.reranker.pairs import Judgement, Pair, PairTokenizer, Reading, cut, num_positions

LEAST_SIMILARITY = -1.0
LOGIT_COSINE_WEIGHT = 0.75
EVIDENCE_COSINE_WEIGHT = 0.5
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
    question_by_row: torch.Tensor
    """(pairs,) int64: the row of each pair's question."""
    weights: torch.Tensor
    """(questions, longest) float32: of a question's words, together 1; 0 elsewhere, and where it has no words."""
    readings: list[Reading]
    """Of the passages, by row."""

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
        row_by_question = {question: row for row, question in enumerate(dict.fromkeys(pair.question for pair in pairs))}
        passages = self._tokenizer.split([pair.passage for pair in pairs])
        readings = [cut(passage, pair.passage, self._room) for passage, pair in zip(passages, pairs, strict=True)]
        questions = self._tokenizer.split(list(row_by_question))
        texts = self._texts(questions)
        return Batch(
            questions=texts,
            passages=self._texts(passages),
            question_by_row=torch.tensor([row_by_question[pair.question] for pair in pairs]),
            weights=_spread([self._tokenizer.rarities(question) for question in questions], texts.is_word),
            readings=readings,
        )

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[Judgement]:
        """One judgement per pair. A pair's logit does not depend on the others (within 1e-5)."""
        questions, passages = self._encode(batch.questions), self._encode(batch.passages)
        question_by_row = batch.question_by_row.to(self._device)
        weights = batch.weights.to(self._device)[question_by_row]
        is_word = batch.passages.is_word.to(self._device)
        similarities = max_similarities(questions.tokens[question_by_row], passages.tokens, is_word)
        cosines = (questions.pooled[question_by_row] * passages.pooled).sum(1)
        logits = mean(similarities, weights) + LOGIT_COSINE_WEIGHT * cosines
        evidence = soft_minimum(similarities, weights) + EVIDENCE_COSINE_WEIGHT * cosines
        scores = zip(logits.tolist(), evidence.tolist(), _num_tokens(batch), batch.readings, strict=True)
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
        return Vectors(normalize(states, dim=2), normalize(pooled, dim=1))


def _spread(weights_by_question: Sequence[Sequence[float]], is_word: torch.Tensor) -> torch.Tensor:
    """Weights at the places of the words, made to sum to 1."""
    spread = torch.zeros(is_word.shape)
    spread[is_word] = torch.tensor([weight for weights in weights_by_question for weight in weights])
    return normalize(spread, p=1, dim=1)


def _num_tokens(batch: Batch) -> list[int]:
    """What reading each pair took: a question that several pairs share counts with the first of them."""
    unread = dict(enumerate(batch.questions.num_tokens_by_row))
    return [
        num_tokens + unread.pop(question, 0)
        for num_tokens, question in zip(batch.passages.num_tokens_by_row, batch.question_by_row.tolist(), strict=True)
    ]


def max_similarities(questions: torch.Tensor, passages: torch.Tensor, is_word: torch.Tensor) -> torch.Tensor:
    """For each pair and each token of its question, the best similarity that one of the passage's words has.

    `questions` is (pairs, longest question, dimension), `passages` (pairs, longest passage, dimension), `is_word`
    (pairs, longest passage) bool; all vectors at unit length. Returns (pairs, longest question).
    """
    similarities = questions @ passages.transpose(1, 2)
    return similarities.masked_fill(~is_word.unsqueeze(1), LEAST_SIMILARITY).amax(2)


def mean(similarities: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Over the questions' words: both (pairs, longest question), weights as in `Batch`; (pairs,)."""
    return _least_without_words((similarities * weights).sum(1), weights)


def soft_minimum(similarities: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Between the weighted mean and the minimum over the questions' words, shapes as in `mean`."""
    return _least_without_words(-torch.logsumexp(weights.log() - SHARPNESS * similarities, dim=1) / SHARPNESS, weights)


def _least_without_words(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return scores.where(weights.any(1), LEAST_SIMILARITY)
