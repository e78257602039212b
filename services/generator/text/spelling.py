"""Tokens as the vocabulary spells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.generator.engine import Logprobs, TokenLogprob, WrittenToken

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def written(tokenizer: PreTrainedTokenizerBase, token_id: int, logprobs: Logprobs) -> WrittenToken:
    """A token and the likeliest ones at its place."""
    pairs = [(token_id, logprobs.chosen), *logprobs.top]
    # A model may have more rows than its vocabulary has words: those are spelled None.
    spelled = tokenizer.convert_ids_to_tokens([one for one, _ in pairs])
    chosen, *top = (TokenLogprob(one, token or "", value) for (one, value), token in zip(pairs, spelled, strict=True))
    return WrittenToken(chosen, tuple(top))
