"""What the contract allows of `trivium.v1.Sampling`. Its fields come by name, those that are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.errors import InvalidRequest
from chassis.validation import require_between, require_finite

MAX_OUTPUT_TOKENS = 4_096
DEFAULT_OUTPUT_TOKENS = 256
MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256

COUNTS = {
    "top_k": (1, 1_000),
    "no_repeat_ngram_size": (0, 100),
    "num_beams": (1, 16),
    "num_top_logprobs": (0, 20),
}
NUMBERS = {"temperature": 2.0, "top_p": 1.0, "min_p": 1.0, "repetition_penalty": 10.0}
"""The most of each. The least is 0."""
ABOVE_ZERO = ("top_p", "repetition_penalty")
OF_CHANCE = ("top_k", "top_p", "min_p", "seed")
"""What says how to draw, and so needs a temperature."""


def require_sampling(given: Mapping[str, Any], max_output_tokens: int = MAX_OUTPUT_TOKENS) -> None:
    """Each field is in its range, and none contradicts another. Raises InvalidRequest, naming `sampling.field`.

    `max_output_tokens` is the most that a request may ask for: the contract's, or a generator's own.
    """
    _require_lengths(given, max_output_tokens)
    for name, value in given.items():
        if name in COUNTS:
            require_between(_field(name), value, *COUNTS[name])
        elif name in NUMBERS:
            _require_number(name, value)
    _require_stops(given.get("stop", ()))
    draws = given.get("temperature", 0) > 0
    for name in OF_CHANCE:
        if name in given and not draws:
            raise InvalidRequest(_field(name), "needs a temperature above 0")
    if given.get("num_beams", 1) > 1 and (draws or "num_top_logprobs" in given):
        raise InvalidRequest(_field("num_beams"), "a search has neither a temperature nor log-probabilities")


def _require_lengths(given: Mapping[str, Any], limit: int) -> None:
    most = given.get("max_output_tokens", min(DEFAULT_OUTPUT_TOKENS, limit))
    require_between(_field("max_output_tokens"), most, 1, limit)
    if "min_output_tokens" in given:
        require_between(_field("min_output_tokens"), given["min_output_tokens"], 0, most)


def _require_number(name: str, value: float) -> None:
    require_finite(_field(name), value, 0, NUMBERS[name])
    if name in ABOVE_ZERO and not value > 0:
        raise InvalidRequest(_field(name), f"above 0 to {NUMBERS[name]:g}, got {value:g}")


def _require_stops(stops: Sequence[str]) -> None:
    if len(stops) > MAX_STOPS:
        raise InvalidRequest(_field("stop"), f"at most {MAX_STOPS}, got {len(stops):,}")
    for number, stop in enumerate(stops):
        if not 1 <= len(stop) <= MAX_STOP_CHARACTERS:
            raise InvalidRequest(_field(f"stop[{number}]"), f"1 to {MAX_STOP_CHARACTERS} characters, got {len(stop):,}")


def _field(name: str) -> str:
    return f"sampling.{name}"
