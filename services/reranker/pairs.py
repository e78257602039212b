"""What both engines share: question and passage as text, as tokens, and as the tensors that a model reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tokenizers import Encoding
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from chassis.config import ConfigError


class Pair(NamedTuple):
    """A question and one passage that may answer it."""

    question: str
    passage: str


class Reading(NamedTuple):
    """What a model reads of a passage."""

    num_tokens: int
    """Special tokens not counted."""
    truncated_tokens: int
    """Tokens of the passage that do not fit the model."""
    num_characters: int
    """From the passage's beginning."""


@dataclass(frozen=True)
class Judgement:
    """What a model said of a pair."""

    logit: float
    """Higher is more relevant."""
    evidence: float
    """How much the passage has of all that the question asks for: what a probability is computed from."""
    num_tokens: int
    """Tokens read for it."""
    reading: Reading


def passage_text(title: str, heading_path: Iterable[str], text: str) -> str:
    """A passage as a model reads it: below its title and the headings above it. It ends with the text."""
    return "\n".join(part for part in (title, " > ".join(heading_path), text) if part)


RARITY_FLOOR, RARITY_SCALE = 0.2, 100
"""Weight of the commonest token, and the rank from which on weights grow with the logarithm of the rank alone."""


class PairTokenizer:
    """Questions and passages as tokens.

    It changes nothing in the tokenizer beneath it, so that threads may share one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.pad_token_id is None:
            raise ConfigError("the model's tokenizer has no padding token: it cannot read several texts at once")
        self._backend = tokenizer.backend_tokenizer
        self._pad_token_id = tokenizer.pad_token_id
        self._pad_type_id = tokenizer.pad_token_type_id
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        self._padding_side = tokenizer.padding_side
        self._first_word = _first_word(self._backend.get_vocab(with_added_tokens=False))
        self.max_length: int = tokenizer.model_max_length

    def num_special_tokens(self, is_pair: bool) -> int:
        """How many tokens the model wants around one text, or around a pair."""
        count: int = self._backend.num_special_tokens_to_add(is_pair)
        return count

    def count(self, text: str) -> int:
        """How many tokens the text has, special tokens not counted."""
        return len(self._backend.encode(text, add_special_tokens=False))

    def split(self, texts: Sequence[str]) -> list[Encoding]:
        """The tokens of each text, without special tokens."""
        encodings: list[Encoding] = self._backend.encode_batch(texts, add_special_tokens=False)
        return encodings

    def rarities(self, text: Encoding) -> list[float]:
        """A weight for each token that grows as it is rarer: 0.2 + log(1 + rank / 100).

        The rank is the token's place in the vocabulary, which WordPiece, BPE and unigram tokenizers list from the
        commonest on. Letters, digits and marks come before all words and weigh least.
        """
        ranks = (max(0, token_id - self._first_word) for token_id in text.ids)
        return [RARITY_FLOOR + math.log1p(rank / RARITY_SCALE) for rank in ranks]

    def frame(self, first: Encoding, second: Encoding | None = None) -> Encoding:
        """A text, or a pair, with the special tokens that belong there."""
        framed: Encoding = self._backend.post_process(first, second, True)
        return framed

    def pad(self, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
        """What a model is called with. Each is (encodings, longest) int64."""
        inputs = {
            "input_ids": self._pad([encoding.ids for encoding in encodings], self._pad_token_id),
            "attention_mask": self._pad([encoding.attention_mask for encoding in encodings], 0),
        }
        if self._has_types:
            inputs["token_type_ids"] = self._pad([one.type_ids for one in encodings], self._pad_type_id)
        return inputs

    def mark_words(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """Which tokens are neither special nor padding. (encodings, longest) bool."""
        return self._pad([encoding.special_tokens_mask for encoding in encodings], 1) == 0

    def _pad(self, rows: Sequence[list[int]], padding: int) -> torch.Tensor:
        tensors = [torch.tensor(row, dtype=torch.int64) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=padding, padding_side=self._padding_side)


def _first_word(vocabulary: dict[str, int]) -> int:
    """The id of the first token that is more than one letter."""
    words = (
        token_id for token, token_id in vocabulary.items() if len(bare := token.strip("#Ġ▁")) > 1 and bare.isalpha()
    )
    return min(words, default=0)


def cut(passage: Encoding, text: str, room: int) -> Reading:
    """Keep the first `room` (above 0) tokens of a passage, which are those of `text`."""
    num_truncated = max(0, len(passage) - room)
    if not num_truncated:
        return Reading(len(passage), 0, len(text))
    last = passage.token_to_chars(room - 1)  # `offsets` would be a list of all
    passage.truncate(room)
    return Reading(room, num_truncated, last[1] if last else 0)


def num_positions(model: PreTrainedModel, tokenizer: PairTokenizer, max_length: int) -> int:
    """Tokens that a model reads at once: at most `max_length`, what its tokenizer says, and what it was built for.

    RoBERTa and its kin count positions from behind the padding id: of 514 rows 512 serve.
    """
    built_for: int
    table: Any = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if isinstance(table, torch.nn.Embedding):
        skipped = 0 if table.padding_idx is None else table.padding_idx + 1
        built_for = table.num_embeddings - skipped
    else:
        built_for = getattr(model.config, "max_position_embeddings", max_length)
    return min(max_length, tokenizer.max_length, built_for)
