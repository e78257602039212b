"""The answer that is written at start: a model that cannot write is found out before anybody asks."""

from __future__ import annotations

from typing import Any

from chassis.config import ConfigError
from services.generator.engine import Engine, Flight, NoMemory, Passage, QuestionTooLong, Sampling, Step

QUESTION = "Which one is ready?"
PASSAGES = [Passage("1", "This one is ready.")]
SAMPLING = Sampling(max_output_tokens=2)


def smallest_prompt(engine: Engine[Any]) -> Any:
    """The smallest that makes sense. Raises ConfigError: not even that fits."""
    try:
        return engine.fit(QUESTION, PASSAGES)
    except QuestionTooLong as error:
        raise ConfigError(
            f"what the model is told beside question and passages does not fit {engine.max_prompt_tokens:,} tokens:"
            f" a question {error}; raise GENERATOR_MAX_PROMPT_TOKENS, or choose another GENERATOR_PROMPT_TEMPLATE"
        ) from None


def write(flight: Flight[Any], prompt: Any) -> None:
    """One whole answer. Raises what it failed of; ConfigError: for want of memory."""
    joining, has_ended = {0: (prompt, SAMPLING)}, False
    while not has_ended:
        outcome = flight.step(joining, [])[0]
        if isinstance(outcome, NoMemory):
            raise ConfigError("the model leaves no memory for an answer; give the process more memory")
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Step), "who is alone is never put back"
        joining, has_ended = {}, outcome.finish is not None
