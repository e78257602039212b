"""Random encoder-decoders of every family whose answers are written together, without files and tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    BlenderbotSmallConfig,
    BlenderbotSmallForConditionalGeneration,
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

from tests.unit.random_vocabulary import END, MAX_POSITIONS, PAD, START, VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
            bos_token_id=START,
            decoder_start_token_id=START,
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
