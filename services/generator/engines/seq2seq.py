"""Encoder-decoders: BART, T5 and kin. Imports torch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

from services.generator.engine import CachedFlight, Sampling, Step
from services.generator.engines import bounds
from services.generator.engines.language_model import LanguageModel
from services.generator.prompts import frame
from services.generator.prompts.frame import Frame
from services.generator.prompts.prompt import TokenPrompt
from services.generator.prompts.prompt_template import DEFAULTS, PromptTemplate
from services.generator.rows.alone import Alone
from services.generator.rows.decoder import AnyDecoder
from services.generator.rows.encoder_decoder import EncoderDecoder
from services.generator.rows.positions import UnknownPositions, positions_of
from services.generator.rows.rows_and_searches import RowsAndSearches
from services.generator.rows.rules import of_beams, options
from services.generator.rows.search import search


class Seq2Seq(LanguageModel):
    """The encoder reads the prompt, the decoder writes: each has the model's positions to itself.

    Answers of several beams are searched for beside the flight, each by itself.
    """

    _load_as = AutoModelForSeq2SeqLM
    _template_name = DEFAULTS["seq2seq"]

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        return self._searched(prompt, sampling) if sampling.num_beams > 1 else super().generate(prompt, sampling)

    def flight(self) -> CachedFlight[Any] | None:
        rows = self._rows()
        return rows and RowsAndSearches(rows, Alone(self))

    def _framed(self, template: PromptTemplate) -> Frame:
        return frame.plain(self._vocabulary, template)

    def _bounds(self, num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[int, int]:
        return bounds.of_two_texts(num_positions, max_prompt_tokens, max_output_tokens)

    def _decoder(self) -> AnyDecoder:
        positions = positions_of(self._model)
        if positions is None:
            raise UnknownPositions(self._model.config.model_type)
        return EncoderDecoder(self._model, positions)

    def _cache(self) -> dict[str, Any]:
        # The one that `generate` makes has as many layers as the encoder, whatever the decoder has.
        return {"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())}

    def _searched(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        """Steps without anything while the search goes on, then one with all."""
        sampling = sampling.within(self.max_output_tokens)
        searching = search(
            self._model,
            torch.tensor([prompt.token_ids], device=self._model.device),
            num_beams=sampling.num_beams,
            **self._cache(),
            **of_beams(self._settings),
            **options(self._model, prompt.token_ids, sampling),
        )
        with closing(searching):
            for found in searching:
                yield Step() if found is None else self._writer(prompt, sampling).write_all(found)
