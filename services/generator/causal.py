"""Decoder-only models: Llama, Qwen, GPT-2 and kin."""

from __future__ import annotations

from transformers import AutoModelForCausalLM

from services.generator import frame
from services.generator.causal_decoder import CausalDecoder
from services.generator.decoder import AnyDecoder
from services.generator.frame import Frame
from services.generator.language_model import LanguageModel
from services.generator.positions import require_positions_of_each
from services.generator.prompt_template import DEFAULTS, PromptTemplate


class Causal(LanguageModel):
    """Prompt and answer are one text: together they have the model's positions."""

    _load_as = AutoModelForCausalLM
    _template_name = DEFAULTS["causal"]

    def _framed(self, template: PromptTemplate) -> Frame:
        return frame.chat(self._tokenizer, template)

    def _bounds(self, num_positions: float, max_prompt_tokens: int, max_output_tokens: int) -> tuple[float, float]:
        """Where both do not fit, neither has more than half of the positions, unless the other leaves them."""
        longest_prompt = min(max_prompt_tokens, max(num_positions - max_output_tokens, num_positions // 2))
        return longest_prompt, min(max_output_tokens, num_positions - longest_prompt)

    def _decoder(self) -> AnyDecoder:
        require_positions_of_each(self._model)
        return CausalDecoder(self._model)
