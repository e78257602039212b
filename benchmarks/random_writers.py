"""Encoder-decoders with random weights, saved as real ones are, and requests for them.

Their answers never end by themselves and become as long as they may, so that every way of writing makes the same
number of tokens. In their vocabulary a token is a word: text tells the ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_PROMPT_TOKENS = 200
MAX_OUTPUT_TOKENS = 96
FIRST_WORD = 4
"""Ids below are control tokens."""

NUM_ASKED_WORDS = 1_000


@dataclass(frozen=True)
class Request:
    """A prompt, and how many tokens its answer has."""

    token_ids: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Shape:
    """Sizes of a model."""

    family: str
    vocabulary: int
    width: int
    num_heads: int
    num_layers: int
    """Of encoder and decoder each."""


SHAPES = {
    "t5-small": Shape("t5", 32_128, 512, 8, 6),
    "bart-base": Shape("bart", 50_265, 768, 12, 6),
    "tiny-t5": Shape("t5", 1_100, 64, 1, 2),
    "tiny-bart": Shape("bart", 1_100, 64, 1, 2),
}


def mixed(number: int) -> list[Request]:
    """Prompts of 8 to 200 tokens; answers of 4 to 96, most of them short. The same each time."""
    import numpy as np

    random = np.random.default_rng(3)
    return [
        Request(
            tuple(random.integers(FIRST_WORD, NUM_ASKED_WORDS, random.integers(8, MAX_PROMPT_TOKENS)).tolist()),
            int(np.clip(random.exponential(24), 4, MAX_OUTPUT_TOKENS)),
        )
        for _ in range(number)
    ]


def save(name: str, folder: Path) -> None:
    """The model of this shape, float32, with its tokenizer."""
    import torch

    from chassis import pretrained  # noqa: F401 (which silences progress bars)

    shape = SHAPES[name]
    torch.manual_seed(0)
    model: Any = {"t5": _t5, "bart": _bart}[shape.family](shape)
    model.save_pretrained(folder)
    _tokenizer(shape.vocabulary).save_pretrained(folder)


def words(token_ids: Sequence[int]) -> str:
    """What the text of these tokens is."""
    return " ".join(f"w{token_id}" for token_id in token_ids if token_id >= FIRST_WORD)


def _t5(shape: Shape) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        d_kv=64,
        d_ff=4 * shape.width,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        initializer_factor=2.0,  # as it comes, a random T5 repeats one token
        pad_token_id=0,
        eos_token_id=None,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config)


def _bart(shape: Shape) -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        encoder_layers=shape.num_layers,
        decoder_layers=shape.num_layers,
        encoder_attention_heads=shape.num_heads,
        decoder_attention_heads=shape.num_heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        init_std=0.1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        # As in the published checkpoints; CTranslate2's converter asks for them.
        normalize_before=False,
        normalize_embedding=True,
        add_final_layer_norm=False,
    )
    return BartForConditionalGeneration(config)


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control = ["<pad>", "<s>", "</s>", "<unk>"]
    names = [*control, *(f"w{number}" for number in range(FIRST_WORD, vocabulary))]
    by_word = models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>")
    tokenizer = Tokenizer(by_word)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
