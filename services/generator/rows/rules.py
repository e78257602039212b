"""What a checkpoint's generation settings and a request ask of one answer. Imports torch."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.generation import EosTokenCriteria, MaxLengthCriteria
from transformers.modeling_outputs import BaseModelOutput

from services.generator.engine import Sampling
from services.generator.rows.choice import Choice, draws

if TYPE_CHECKING:
    from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

OF_BEAMS = ("early_stopping", "length_penalty")
NOT_GREEDY = (
    *("num_beams", "num_beam_groups", *OF_BEAMS, "num_return_sequences"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
)
LENGTHS = ("max_length", "max_new_tokens")
"""What of a checkpoint's generation settings is not heeded: decoding is greedy unless the request says otherwise, its
length the request's.

All else is: forced, suppressed and start tokens, least length, n-grams not to repeat, repetition penalty; and in a
search how beams are ranked and when it ends.
"""


@dataclass(frozen=True)
class Rules:
    """How one answer is written, as the model's own `generate` has it."""

    start: torch.Tensor
    """What the decoder reads first, shape (1, tokens), int64, on the model's device: one token, or the prompt where
    there is no encoder to read it."""
    choice: Choice
    ends: frozenset[int]
    """Tokens that end the answer."""


class UnknownEnd(Exception):
    """The settings end answers by something other than a token or a length."""


def greedy(config: GenerationConfig) -> GenerationConfig:
    """The settings without what is not heeded."""
    config = copy.deepcopy(config)
    for name in (*NOT_GREEDY, *LENGTHS):
        setattr(config, name, None)
    return config


def of_beams(config: GenerationConfig) -> dict[str, Any]:
    """What the settings say of a search, as options of `generate`."""
    settings = {name: getattr(config, name) for name in OF_BEAMS}
    return {name: value for name, value in settings.items() if value is not None}


def unforced_ends(config: GenerationConfig) -> frozenset[int]:
    """The tokens by which the model says that it is done. Where its settings force one at the greatest length,
    it says nothing there."""
    return frozenset() if config.forced_eos_token_id is not None else ends(config)


def least_lengths(model: PreTrainedModel, prompt_ids: Sequence[int], max_tokens: int) -> dict[str, int]:
    """Those of the checkpoint, which may be more than the request wants at most. Without an encoder `min_length`
    counts the prompt."""
    return _least_lengths(model.generation_config, max_tokens, num_in_decoder(model, prompt_ids))


def options(model: PreTrainedModel, prompt_ids: Sequence[int], sampling: Sampling) -> dict[str, Any]:
    """What `generate` is told of a request. All else is as `greedy` left it."""
    asked = {
        "max_new_tokens": sampling.max_output_tokens,
        "repetition_penalty": sampling.repetition_penalty,
        "no_repeat_ngram_size": sampling.no_repeat_ngram_size,
    }
    told = {name: value for name, value in asked.items() if value is not None}
    return told | _asked_lengths(model, prompt_ids, sampling) | _chance(sampling)


def num_in_decoder(model: PreTrainedModel, prompt_ids: Sequence[int]) -> int:
    """Tokens of the prompt that the decoder reads: none where there is an encoder."""
    return 0 if model.config.is_encoder_decoder else len(prompt_ids)


def least_new_tokens(settings: GenerationConfig, sampling: Sampling, num_prompt_tokens: int = 0) -> int:
    """How many tokens must be written before the answer may end. The prompt's are those `num_in_decoder`."""
    if sampling.min_output_tokens is not None:
        return sampling.min_output_tokens
    lengths = _least_lengths(settings, sampling.max_output_tokens, num_prompt_tokens)
    return max(lengths.get("min_length", 0) - _num_read(num_prompt_tokens), lengths.get("min_new_tokens", 0))


def rules(model: PreTrainedModel, prompt_ids: Sequence[int], sampling: Sampling) -> Rules:
    """Those of an answer. Nothing is computed. Raises UnknownEnd."""
    token_ids = torch.tensor([prompt_ids], device=model.device)
    read: dict[str, Any] = {}
    if model.config.is_encoder_decoder:
        unread = torch.zeros(1, len(prompt_ids), 1, device=model.device)
        read["encoder_outputs"] = BaseModelOutput(last_hidden_state=unread)
    found: Rules = model.generate(
        token_ids,
        attention_mask=torch.ones_like(token_ids),
        custom_generate=functools.partial(_rules, sampling),
        **read,
        **options(model, prompt_ids, sampling),
    )
    return found


def _rules(
    sampling: Sampling,
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    **_: Any,
) -> Rules:
    """`generate` calls this in place of its own loop, when its rules are set up."""
    for criterion in stopping_criteria:
        if not isinstance(criterion, EosTokenCriteria | MaxLengthCriteria):
            raise UnknownEnd(type(criterion).__name__)
    return Rules(input_ids, Choice(logits_processor, sampling, model.device), ends(generation_config))


def _asked_lengths(model: PreTrainedModel, prompt_ids: Sequence[int], sampling: Sampling) -> dict[str, Any]:
    if sampling.min_output_tokens is None:
        return least_lengths(model, prompt_ids, sampling.max_output_tokens)
    # As a length, which counts what the decoder reads first: told in new tokens beside a checkpoint's length,
    # `generate` warns each time.
    num_read = _num_read(num_in_decoder(model, prompt_ids))
    return {"min_length": num_read + sampling.min_output_tokens, "min_new_tokens": None}


def _least_lengths(settings: GenerationConfig, max_tokens: int, num_prompt_tokens: int) -> dict[str, int]:
    longest = {"min_length": num_prompt_tokens + max_tokens, "min_new_tokens": max_tokens}
    lengths = {name: getattr(settings, name) for name in longest}
    return {name: min(length, longest[name]) for name, length in lengths.items() if length}


def _num_read(num_prompt_tokens: int) -> int:
    """What the decoder reads before it writes, tokens: `min_length` counts them too. Behind an encoder that is the
    start token alone."""
    return num_prompt_tokens or 1


def _chance(sampling: Sampling) -> dict[str, Any]:
    """Every value is given: what is not has a default in `generate`, 50 for `top_k`."""
    if not draws(sampling):
        return {}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k or 0,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "min_p": sampling.min_p or None,
    }


def ends(config: GenerationConfig) -> frozenset[int]:
    """The tokens that end an answer."""
    found = config.eos_token_id
    return frozenset() if found is None else frozenset(np.atleast_1d(found).tolist())
