"""What a checkpoint's generation settings ask of one answer. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.generation import EosTokenCriteria, MaxLengthCriteria
from transformers.modeling_outputs import BaseModelOutput

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


@dataclass(frozen=True)
class Rules:
    """How one answer is written, as the model's own `generate` has it."""

    start: torch.Tensor
    """What the decoder reads first, shape (1, tokens), int64, on the model's device: one token, or the prompt where
    there is no encoder to read it."""
    processors: LogitsProcessorList
    """Change scores of shape (1, vocabulary); some have a state of their own."""
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


def unforced_ends(config: GenerationConfig) -> frozenset[int]:
    """The tokens by which the model says that it is done. Where its settings force one at the greatest length,
    it says nothing there."""
    return frozenset() if config.forced_eos_token_id is not None else _ends(config)


def least_lengths(model: PreTrainedModel, prompt_ids: Sequence[int], max_tokens: int) -> dict[str, int]:
    """Those of the checkpoint, which may be more than the request wants at most. Without an encoder `min_length`
    counts the prompt."""
    num_read = 0 if model.config.is_encoder_decoder else len(prompt_ids)
    longest = {"min_length": num_read + max_tokens, "min_new_tokens": max_tokens}
    lengths = {name: getattr(model.generation_config, name) for name in longest}
    return {name: min(length, longest[name]) for name, length in lengths.items() if length}


def rules(model: PreTrainedModel, prompt_ids: Sequence[int], max_tokens: int) -> Rules:
    """Those of an answer of at most `max_tokens`. Nothing is computed. Raises UnknownEnd."""
    token_ids = torch.tensor([prompt_ids], device=model.device)
    read: dict[str, Any] = {}
    if model.config.is_encoder_decoder:
        unread = torch.zeros(1, len(prompt_ids), 1, device=model.device)
        read["encoder_outputs"] = BaseModelOutput(last_hidden_state=unread)
    found: Rules = model.generate(
        token_ids,
        attention_mask=torch.ones_like(token_ids),
        max_new_tokens=max_tokens,
        custom_generate=_rules,
        **read,
        **least_lengths(model, prompt_ids, max_tokens),
    )
    return found


def _rules(
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
    return Rules(input_ids, logits_processor, _ends(generation_config))


def _ends(config: GenerationConfig) -> frozenset[int]:
    ends = config.eos_token_id
    return frozenset() if ends is None else frozenset(np.atleast_1d(ends).tolist())
