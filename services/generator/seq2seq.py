"""Encoder-decoders: BART, T5 and kin."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM

from chassis import pretrained
from services.generator import prompt as prompts
from services.generator.detokenizer import Detokenizer
from services.generator.engine import AnswerKind, Passage, Sampling, Step
from services.generator.prompt import TokenPrompt
from services.generator.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

NOT_GREEDY = (
    *("num_beams", "num_beam_groups", "early_stopping", "length_penalty", "num_return_sequences"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p"),
)
LENGTHS = ("max_length", "max_new_tokens")
"""What of a checkpoint's generation settings is not heeded: decoding is greedy, its length the request's.

All else is: forced, suppressed and start tokens, least length, n-grams not to repeat, repetition penalty.
"""


class Seq2Seq:
    """One row at a time, greedy: the tokens are those of the model's own `generate` without beams."""

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
        self._model.generation_config = _greedy(self._model.generation_config)
        self._vocabulary = Vocabulary(self._tokenizer)
        self._unforced_ends = _unforced_ends(self._model.generation_config)
        num_positions = getattr(self._model.config, "max_position_embeddings", None) or math.inf
        self.max_prompt_tokens = int(min(max_prompt_tokens, num_positions))
        self.max_output_tokens = int(min(max_output_tokens, num_positions - 1))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._vocabulary.encode(texts)]

    def fit(self, question: str, passages: Sequence[Passage]) -> TokenPrompt:
        return prompts.fit(question, passages, self._vocabulary, self.max_prompt_tokens)

    def generate(self, prompt: TokenPrompt, sampling: Sampling) -> Generator[Step, None, None]:
        max_tokens = min(sampling.max_output_tokens, self.max_output_tokens)
        detokenizer = Detokenizer(self._tokenizer)
        for num_tokens, (token_id, is_last) in enumerate(self._tokens(prompt, max_tokens), start=1):
            text = detokenizer.add(token_id)
            if not is_last:
                yield Step(text, num_tokens=1)
                continue
            is_cut = num_tokens == max_tokens and token_id not in self._unforced_ends
            yield Step(text + detokenizer.end(), num_tokens=1, finish="length" if is_cut else "stop")

    def _tokens(self, prompt: TokenPrompt, max_tokens: int) -> Iterator[tuple[int, bool]]:
        token_ids = torch.tensor([prompt.token_ids], device=self._model.device)
        tokens: Iterator[tuple[int, bool]] = self._model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            max_new_tokens=max_tokens,
            custom_generate=_decode_greedily,
            **self._least_lengths(max_tokens),
        )
        return tokens

    def _least_lengths(self, max_tokens: int) -> dict[str, int]:
        """Those of the checkpoint, which may be more than the request wants at most."""
        config = self._model.generation_config
        lengths = {name: getattr(config, name) for name in ("min_length", "min_new_tokens")}
        return {name: min(length, max_tokens) for name, length in lengths.items() if length}


def _greedy(config: GenerationConfig) -> GenerationConfig:
    config = copy.deepcopy(config)
    for name in (*NOT_GREEDY, *LENGTHS):
        setattr(config, name, None)
    return config


def _unforced_ends(config: GenerationConfig) -> frozenset[int]:
    """The tokens by which the model says that it is done. Where its settings force one at the greatest length,
    it says nothing there."""
    ends, forced = config.eos_token_id, config.forced_eos_token_id
    return frozenset() if ends is None or forced is not None else frozenset(np.atleast_1d(ends).tolist())


@torch.inference_mode()
def _decode_greedily(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    encoder_outputs: Any,
    attention_mask: torch.Tensor,
    past_key_values: Any,
    **_: Any,
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
            past_key_values=past_key_values,
            use_cache=True,
        )
        # In float32 whatever the model's dtype, as `generate` has it: the rules then round the same.
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        token_id = scores.argmax(dim=-1)
        input_ids = torch.cat([input_ids, token_id[:, None]], dim=-1)
        is_last = bool(stopping_criteria(input_ids, scores).all())
        yield int(token_id), is_last
