"""Decoder-only models: Llama, Qwen, GPT-2 and kin."""

from __future__ import annotations

from transformers import AutoModelForCausalLM

from services.generator.engines import bounds
from services.generator.engines.language_model import LanguageModel
from services.generator.prompts import frame
from services.generator.prompts.frame import Frame
from services.generator.prompts.prompt_template import DEFAULTS, PromptTemplate
from services.generator.rows.causal_decoder import CausalDecoder
from services.generator.rows.decoder import AnyDecoder
from services.generator.rows.positions import require_positions_of_each


class Causal(LanguageModel):
    """Prompt and answer are one text: together they have the model's positions."""

    _load_as = AutoModelForCausalLM
    _template_name = DEFAULTS["causal"]

    def _framed(self, template: PromptTemplate) -> Frame:
        return frame.chat(self._tokenizer, template)

    def _bounds(self, num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[int, int]:
        return bounds.of_one_text(num_positions, max_prompt_tokens, max_output_tokens)

    def _decoder(self) -> AnyDecoder:
        require_positions_of_each(self._model)
        return CausalDecoder(self._model)
