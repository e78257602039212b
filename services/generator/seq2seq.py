"""Encoder-decoders: BART, T5 and kin."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

from chassis import pretrained
from services.generator import prompt as prompts
from services.generator.encoder_decoder import EncoderDecoder
from services.generator.engine import AnswerKind, Passage, Sampling, Step
from services.generator.positions import positions_of
from services.generator.prompt import TokenPrompt
from services.generator.row import Opening
from services.generator.row_flight import RowFlight
from services.generator.rules import UnknownEnd, greedy, least_lengths, rules, unforced_ends
from services.generator.vocabulary import Vocabulary
from services.generator.writer import Writer

if TYPE_CHECKING:
    from transformers import LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

logger = logging.getLogger(__name__)


class Seq2Seq:
    """Greedy: the tokens are those of the model's own `generate` without beams, one answer at a time or in flight."""

    kind: AnswerKind = "generated"

    def __init__(
        self,
        path: Path,
        device: str,
        max_prompt_tokens: int,
        max_output_tokens: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._tokenizer = pretrained.load_tokenizer(path)
        self._model = pretrained.load_model(AutoModelForSeq2SeqLM, path, device, dtype)
        pretrained.quicken_steps(self._model, device)
        self._model.generation_config = greedy(self._model.generation_config)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._unforced_ends = unforced_ends(self._model.generation_config)
        num_positions = getattr(self._model.config, "max_position_embeddings", None) or math.inf
        self.max_prompt_tokens = int(min(max_prompt_tokens, num_positions))
        self.max_output_tokens = int(min(max_output_tokens, num_positions - 1))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def fit(self, question: str, passages: Sequence[Passage]) -> TokenPrompt:
        return prompts.fit(question, passages, self._vocabulary, self.max_prompt_tokens)

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        max_tokens = self._max_tokens(sampling)
        writer = self._writer(max_tokens)
        for token_id, is_last in self._tokens(prompt, max_tokens):
            yield writer.write(token_id, is_last)

    def flight(self) -> RowFlight | None:
        """Answers written together, or None, with a line in the log, where this model's cannot be."""
        positions = positions_of(self._model)
        reason = None if positions else f"no known positions: {self._model.config.model_type}"
        try:
            self._open(TokenPrompt(1, 1, 0, (), (0,)), Sampling(1))
        except UnknownEnd as unknown:
            reason = f"answers end by {unknown}"
        if positions is None or reason:
            logger.warning("answers are written one at a time", extra={"reason": reason})
            return None
        return RowFlight(EncoderDecoder(self._model, positions), self._open)

    def _open(self, prompt: TokenPrompt, sampling: Sampling) -> Opening:
        max_tokens = self._max_tokens(sampling)
        return Opening(rules(self._model, prompt.token_ids, max_tokens), self._writer(max_tokens), max_tokens)

    def _writer(self, max_tokens: int) -> Writer:
        return Writer(self._tokenizer, max_tokens, self._unforced_ends)

    def _max_tokens(self, sampling: Sampling) -> int:
        return min(sampling.max_output_tokens, self.max_output_tokens)

    def _tokens(self, prompt: TokenPrompt, max_tokens: int) -> Iterator[tuple[int, bool]]:
        token_ids = torch.tensor([prompt.token_ids], device=self._model.device)
        tokens: Iterator[tuple[int, bool]] = self._model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            max_new_tokens=max_tokens,
            # The one that `generate` makes has as many layers as the encoder, whatever the decoder has.
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            custom_generate=_decode_greedily,
            **least_lengths(self._model.generation_config, max_tokens),
        )
        return tokens


@torch.inference_mode()
def _decode_greedily(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    *,
    encoder_outputs: Any,
    attention_mask: torch.Tensor,
    **others: Any,
) -> Iterator[tuple[int, bool]]:
    """Yields (token id, whether it is the last), one decoder step each.

    `generate` calls this in place of its own loop, when the encoder has run and its rules are set up.
    """
    is_last = False
    while not is_last:
        outputs = model(
            encoder_outputs=encoder_outputs,
            attention_mask=attention_mask,
            decoder_input_ids=input_ids[:, -1:],
            past_key_values=others["past_key_values"],
            use_cache=True,
        )
        # In float32 whatever the model's dtype, as `generate` has it: the rules then round the same.
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        token_id = scores.argmax(dim=-1)
        input_ids = torch.cat([input_ids, token_id[:, None]], dim=-1)
        is_last = bool(stopping_criteria(input_ids, scores).all())
        yield int(token_id), is_last
