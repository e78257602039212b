"""Random encoder-decoders of every family whose answers are written together, without files and tokenizers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    BlenderbotSmallConfig,
    BlenderbotSmallForConditionalGeneration,
    DynamicCache,
    EncoderDecoderCache,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    MvpConfig,
    MvpForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PLBartConfig,
    PLBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from services.generator.encoder_decoder import EncoderDecoder
from services.generator.engine import Finish, Logprobs, Sampling, Step
from services.generator.positions import positions_of
from services.generator.prompt import TokenPrompt
from services.generator.row import Opening
from services.generator.row_flight import RowFlight
from services.generator.rules import greedy, least_lengths, rules

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY = 60
PAD, END = 0, 1
MAX_POSITIONS = 400


def _like_bart(config: Any, model: Any, **depths: int) -> PreTrainedModel:
    settings = {"encoder_layers": 2, "decoder_layers": 2, **depths}
    return model(
        config(
            **settings,
            vocab_size=VOCABULARY,
            d_model=16,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            max_position_embeddings=MAX_POSITIONS,
            init_std=1.0,
            pad_token_id=PAD,
            eos_token_id=END,
            bos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
    )


def _like_t5(config: Any, model: Any, **depths: int) -> PreTrainedModel:
    settings = {"num_layers": 2, **depths}
    return model(
        config(
            **settings,
            vocab_size=VOCABULARY,
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_heads=2,
            initializer_factor=2.0,
            pad_token_id=PAD,
            eos_token_id=END,
            decoder_start_token_id=PAD,
        )
    )


MAKE = {
    "t5": lambda: _like_t5(T5Config, T5ForConditionalGeneration),
    "bart": lambda: _like_bart(BartConfig, BartForConditionalGeneration),
    "t5 of other depths": lambda: _like_t5(T5Config, T5ForConditionalGeneration, num_layers=4, num_decoder_layers=2),
    "t5 of deep decoder": lambda: _like_t5(T5Config, T5ForConditionalGeneration, num_layers=1, num_decoder_layers=3),
    "bart of other depths": lambda: _like_bart(
        BartConfig, BartForConditionalGeneration, encoder_layers=1, decoder_layers=3
    ),
    "mt5": lambda: _like_t5(MT5Config, MT5ForConditionalGeneration),
    "umt5": lambda: _like_t5(UMT5Config, UMT5ForConditionalGeneration),
    "mbart": lambda: _like_bart(MBartConfig, MBartForConditionalGeneration),
    "plbart": lambda: _like_bart(PLBartConfig, PLBartForConditionalGeneration),
    "mvp": lambda: _like_bart(MvpConfig, MvpForConditionalGeneration),
    "pegasus": lambda: _like_bart(PegasusConfig, PegasusForConditionalGeneration),
    "marian": lambda: _like_bart(MarianConfig, MarianMTModel),
    "blenderbot": lambda: _like_bart(BlenderbotConfig, BlenderbotForConditionalGeneration),
    "blenderbot-small": lambda: _like_bart(BlenderbotSmallConfig, BlenderbotSmallForConditionalGeneration),
}


def make(family: str, **generation: Any) -> PreTrainedModel:
    """A seeded model in float64, in which rounding decides nothing."""
    torch.manual_seed(0)
    model = MAKE[family]().to(torch.float64).eval()
    model.generation_config = greedy(model.generation_config)
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    return model


class Spelling:
    """Writes the ids themselves: "17 4 9 "."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._num_tokens = 0

    def write(self, token_id: int, is_last: bool, logprobs: Logprobs | None = None) -> Step:
        self._num_tokens += 1
        finish: Finish = "length" if self._num_tokens == self._max_tokens and token_id != END else "stop"
        return Step(f"{token_id} ", num_tokens=1, finish=finish if is_last else None)


def fly(model: PreTrainedModel) -> RowFlight:
    """A flight whose text is the ids."""
    positions = positions_of(model)
    assert positions is not None

    def begin(prompt: TokenPrompt, sampling: Sampling) -> Opening:
        max_tokens = sampling.max_output_tokens
        return Opening(rules(model, prompt.token_ids, sampling), Spelling(max_tokens), max_tokens)

    return RowFlight(EncoderDecoder(model, positions), begin)


def alone(model: PreTrainedModel, prompt: TokenPrompt, max_tokens: int) -> str:
    """What the model's own `generate` writes, as ids."""
    written = model.generate(
        torch.tensor([prompt.token_ids]),
        attention_mask=torch.ones(1, len(prompt.token_ids), dtype=torch.long),
        max_new_tokens=max_tokens,
        num_beams=1,
        do_sample=False,
        # The one that `generate` makes has as many layers as the encoder, whatever the decoder has.
        past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        **least_lengths(model.generation_config, max_tokens),
    )
    return "".join(f"{token_id} " for token_id in written[0, 1:].tolist())


def prompt_of(*token_ids: int) -> TokenPrompt:
    return TokenPrompt(len(token_ids), len(token_ids), 0, (), token_ids)


def random_requests(random: Any, number: int, longest: int = 40) -> Iterator[tuple[TokenPrompt, Sampling]]:
    """Prompts of 1 to 40 tokens and answers of at most 1 to `longest`."""
    for _ in range(number):
        token_ids = random.integers(3, VOCABULARY, random.integers(1, 40)).tolist()
        yield prompt_of(*token_ids), Sampling(int(random.integers(1, longest)))
