"""Encoder-decoders: BART, T5 and kin."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

from services.generator.decoder import AnyDecoder
from services.generator.encoder_decoder import EncoderDecoder
from services.generator.language_model import LanguageModel
from services.generator.positions import UnknownPositions, positions_of


class Seq2Seq(LanguageModel):
    """The encoder reads the prompt, the decoder writes: each has the model's positions to itself."""

    _load_as = AutoModelForSeq2SeqLM

    def _bounds(self, num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[float, float]:
        return min(max_prompt_tokens, num_positions), min(max_output_tokens, num_positions - 1)

    def _decoder(self) -> AnyDecoder:
        positions = positions_of(self._model)
        if positions is None:
            raise UnknownPositions(self._model.config.model_type)
        return EncoderDecoder(self._model, positions)

    def _cache(self) -> dict[str, Any]:
        # The one that `generate` makes has as many layers as the encoder, whatever the decoder has.
        return {"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())}
