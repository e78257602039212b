"""Judges a passage by a model that reads it together with the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

from chassis.config import ConfigError, Dtype
from chassis.pretrained import load_encoder, load_tokenizer
from chassis.tokens import estimate_tokens
from services.reranker.pairs import Judgement, Pair, PairTokenizer, Reading, cut, num_positions

MIN_PASSAGE_TOKENS = 16
"""Room that a question must leave for the passage: less of one cannot be judged."""


@dataclass(frozen=True)
class Batch:
    """Pairs as the model reads them."""

    inputs: dict[str, torch.Tensor]
    num_tokens_by_row: list[int]
    readings: list[Reading]
    """Of the passages, by row."""

    @property
    def num_tokens(self) -> int:
        return sum(self.num_tokens_by_row)

    @property
    def num_padded_tokens(self) -> int:
        return self.inputs["input_ids"].numel()


class CrossEncoder:
    """A sequence classifier over (question, passage).

    The logit is the model's own: of one label, its output; of two (irrelevant, relevant), the second less the
    first, which is the log odds that softmax gives to relevance.

    Raises ConfigError for a model with another number of labels.
    """

    def __init__(self, path: Path, device: str, max_length: int, dtype: Dtype = "float32") -> None:
        self._model, self.pads = load_encoder(AutoModelForSequenceClassification, path, device, dtype)
        if self._model.config.num_labels not in (1, 2):
            raise ConfigError(f"the cross-encoder at {path} has {self._model.config.num_labels} labels, not 1 or 2")
        self._device = device
        self._tokenizer = PairTokenizer(load_tokenizer(path))
        self._max_length = num_positions(self._model, self._tokenizer, max_length)
        self._room = self._max_length - self._tokenizer.num_special_tokens(is_pair=True)
        self.max_question_tokens = self._room - MIN_PASSAGE_TOKENS

    def count_tokens(self, question: str) -> int:
        """Tokens of a question; more than `max_question_tokens` cannot be judged."""
        return self._tokenizer.count(question)

    def cost(self, pair: Pair) -> int:
        """About how many tokens judging the pair takes."""
        return min(self._max_length, estimate_tokens(pair.question) + estimate_tokens(pair.passage))

    def prepare(self, pairs: Sequence[Pair]) -> Batch:
        """Each pair as its tokenizer builds it, the passage cut to what the question leaves."""
        questions = list({pair.question for pair in pairs})
        tokens_by_question = dict(zip(questions, self._tokenizer.split(questions), strict=True))
        encodings, readings = [], []
        for pair, passage in zip(pairs, self._tokenizer.split([pair.passage for pair in pairs]), strict=True):
            question = tokens_by_question[pair.question]
            readings.append(cut(passage, pair.passage, self._room - len(question)))
            encodings.append(self._tokenizer.frame(question, passage))
        return Batch(self._tokenizer.pad(encodings), [len(encoding) for encoding in encodings], readings)

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[Judgement]:
        """One judgement per pair. A pair's logit does not depend on the others (within 1e-5)."""
        inputs = {name: tensor.to(self._device) for name, tensor in batch.inputs.items()}
        logits = self._model(**inputs).logits.float()
        scores = logits[:, -1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        rows = zip(scores.tolist(), scores.tolist(), batch.num_tokens_by_row, batch.readings, strict=True)
        return [Judgement(*row) for row in rows]
