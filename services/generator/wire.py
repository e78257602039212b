"""Sampling and log-probabilities as they are on the wire."""

from __future__ import annotations

from chassis.errors import InvalidRequest
from chassis.messages import value_by_name
from chassis.sampling import DEFAULT_OUTPUT_TOKENS, require_sampling
from services.generator import engine
from trivium.v1 import generator_pb2

ONLY_LENGTH = "max_output_tokens"
"""The one field that every engine obeys."""

OBEYED = {
    "rag-sequence": frozenset({ONLY_LENGTH}),
    "rag-token": frozenset({ONLY_LENGTH}),
    "ctranslate2": frozenset({ONLY_LENGTH, "min_output_tokens", "stop", "num_beams"}),
}
"""Fields that an engine obeys which refuses the rest."""

IGNORE_OTHERS = frozenset({"extractive"})
WITH_BEAMS = frozenset({"seq2seq", "ctranslate2"})


def read_sampling(asked: generator_pb2.Sampling, engine_name: str, max_output_tokens: int) -> engine.Sampling:
    """How an answer is to be written by this engine, of at most `max_output_tokens`.

    Raises InvalidRequest where the contract's limits or the engine's are broken, or for what it cannot do.
    """
    given = value_by_name(asked)
    require_sampling(given, max_output_tokens)
    for name in given:
        if engine_name in OBEYED and name not in OBEYED[engine_name]:
            raise InvalidRequest(f"sampling.{name}", f"the engine {engine_name} does not obey it")
    if engine_name in IGNORE_OTHERS:
        given = {name: value for name, value in given.items() if name == ONLY_LENGTH}
    if given.get("num_beams", 1) > 1 and engine_name not in WITH_BEAMS:
        raise InvalidRequest("sampling.num_beams", f"the engine {engine_name} has no beams")
    given["stop"] = tuple(given.get("stop", ()))
    return engine.Sampling(**{ONLY_LENGTH: min(DEFAULT_OUTPUT_TOKENS, max_output_tokens), **given})


def written_token(token: engine.WrittenToken) -> generator_pb2.WrittenToken:
    """A token with its log-probabilities."""
    return generator_pb2.WrittenToken(chosen=_logprob(token.chosen), top=map(_logprob, token.top))


def _logprob(token: engine.TokenLogprob) -> generator_pb2.TokenLogprob:
    return generator_pb2.TokenLogprob(token_id=token.token_id, token=token.token, logprob=token.logprob)
