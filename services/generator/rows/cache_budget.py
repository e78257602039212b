"""How many tokens the cache of the answers on their way may take. Imports torch through what it measures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from chassis.config import ConfigError

logger = logging.getLogger(__name__)

SHARE = 0.4
"""Of the free memory, for keys and values. A step copies them at most once as a whole, when rows join and leave, so
that twice this share is taken; the rest is for what a pass computes (states, scores of the vocabulary) and for
whatever else the process and its neighbours do."""

LEAST_TOKENS = 64
"""Of prompts and answers. With less no question gets a useful answer."""


def token_bytes(cache: Any) -> int:
    """Bytes of keys and values that a token takes in a cache of transformers, which has been filled.

    In an encoder-decoder a token of the prompt takes those of cross-attention and one of the answer those of
    self-attention: the larger counts.
    """
    return max(sum(map(_column_bytes, part.layers)) for part in _parts(cache))


def _parts(cache: Any) -> Iterator[Any]:
    if not hasattr(cache, "self_attention_cache"):
        yield cache
        return
    yield cache.self_attention_cache
    yield cache.cross_attention_cache


def _column_bytes(layer: Any) -> int:
    """Of one row."""
    keys, values = layer.keys, layer.values
    return sum(tensor.nbytes // (tensor.shape[0] * tensor.shape[2]) for tensor in (keys, values))


def measured(free_bytes: int, bytes_of_token: int, most: int) -> int:
    """Tokens for which there is memory, at most `most`: more could never be used. Raises ConfigError: too few."""
    tokens = int(SHARE * free_bytes) // bytes_of_token
    if tokens < LEAST_TOKENS:
        raise ConfigError(
            f"there is memory for {tokens:,} tokens of prompts and answers, and at least {LEAST_TOKENS} are needed:"
            f" {free_bytes:,} bytes are free once the model is loaded, {SHARE:.0%} of them are for the cache, and a"
            f" token takes {bytes_of_token:,}; give the process more memory, or set GENERATOR_MAX_CACHE_TOKENS"
        )
    logger.info(
        "the cache's budget",
        extra={"tokens": min(tokens, most), "most": most, "free_bytes": free_bytes, "token_bytes": bytes_of_token},
    )
    return min(tokens, most)


def warn_of_refusals(tokens: int, largest: int) -> None:
    """Say at start that requests which the limits allow will be refused, where it is so."""
    if tokens < largest:
        logger.warning(
            "the cache cannot hold the largest request: such are refused", extra={"tokens": tokens, "largest": largest}
        )
