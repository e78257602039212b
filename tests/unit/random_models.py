"""Random models of every family whose answers are written together, and what they write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from services.generator.engine import Finish, Logprobs, Sampling, Step
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.causal_decoder import CausalDecoder
from services.generator.rows.encoder_decoder import EncoderDecoder
from services.generator.rows.positions import positions_of
from services.generator.rows.row import Opening
from services.generator.rows.row_flight import RowFlight
from services.generator.rows.rules import greedy, least_lengths, rules
from tests.unit import random_causal, random_seq2seq
from tests.unit.random_vocabulary import END, VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from services.generator.rows.decoder import AnyDecoder

MAKE = random_seq2seq.MAKE | random_causal.MAKE


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

    def begin(prompt: TokenPrompt, sampling: Sampling) -> Opening:
        max_tokens = sampling.max_output_tokens
        return Opening(rules(model, prompt.token_ids, sampling), Spelling(max_tokens), max_tokens)

    return RowFlight(decoder_of(model), begin)


def decoder_of(model: PreTrainedModel) -> AnyDecoder:
    if not model.config.is_encoder_decoder:
        return CausalDecoder(model)
    positions = positions_of(model)
    assert positions is not None
    return EncoderDecoder(model, positions)


def alone(model: PreTrainedModel, prompt: TokenPrompt, max_tokens: int) -> str:
    """What the model's own `generate` writes, as ids."""
    is_encoder_decoder = model.config.is_encoder_decoder
    # The cache that `generate` makes has as many layers as the encoder, whatever the decoder has.
    cache = {"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())} if is_encoder_decoder else {}
    written = model.generate(
        torch.tensor([prompt.token_ids]),
        attention_mask=torch.ones(1, len(prompt.token_ids), dtype=torch.long),
        max_new_tokens=max_tokens,
        num_beams=1,
        do_sample=False,
        **cache,
        **least_lengths(model, prompt.token_ids, max_tokens),
    )
    num_read = 1 if is_encoder_decoder else len(prompt.token_ids)
    return "".join(f"{token_id} " for token_id in written[0, num_read:].tolist())


def prompt_of(*token_ids: int) -> TokenPrompt:
    return TokenPrompt(len(token_ids), len(token_ids), 0, (), token_ids)


def random_requests(random: Any, number: int, longest: int = 40) -> Iterator[tuple[TokenPrompt, Sampling]]:
    """Prompts of 1 to 40 tokens and answers of at most 1 to `longest`."""
    for _ in range(number):
        token_ids = random.integers(3, VOCABULARY, random.integers(1, 40)).tolist()
        yield prompt_of(*token_ids), Sampling(int(random.integers(1, longest)))
