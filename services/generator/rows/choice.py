"""Which token comes next. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from services.generator.engine import Logprobs, Sampling

if TYPE_CHECKING:
    from transformers import LogitsProcessorList

MIN_TEMPERATURE = 1e-20
"""Below it scores would overflow. The likeliest token is then all but certain, and is taken."""


class Choice:
    """How the tokens of one answer are chosen. It has a state: of the draw, and of rules that have one."""

    def __init__(self, processors: LogitsProcessorList, sampling: Sampling, device: torch.device) -> None:
        self.processors = processors
        """Change scores of shape (1, vocabulary)."""
        self.generator = _generator(sampling.seed, device) if draws(sampling) else None
        """Where chance comes from. None: the likeliest token is taken."""
        self.num_top_logprobs = sampling.num_top_logprobs


@dataclass(frozen=True)
class Chosen:
    """The next token of a row."""

    token_id: torch.Tensor
    """On the device, shape (1,), int64."""
    number: int
    logprobs: Logprobs | None


def draws(sampling: Sampling) -> bool:
    """Whether chance has a part in the answer."""
    return sampling.temperature > MIN_TEMPERATURE


def choose(
    choices: Sequence[Choice], token_ids: Sequence[torch.Tensor], scores: torch.Tensor
) -> list[Chosen | Exception]:
    """The next token of each row, or why there is none.

    `token_ids` are what each row has so far, shape (1, tokens); `scores`, shape (rows, vocabulary), float32, are
    those of the model, and overwritten. Each row's are processed and drawn from by themselves, as for a batch of one:
    so it does not matter to a row who is beside it.
    """
    log_probabilities: dict[int, torch.Tensor] = {}
    errors: dict[int, Exception] = {}
    for place, choice in enumerate(choices):
        try:
            if choice.num_top_logprobs is not None:
                log_probabilities[place] = scores[place].log_softmax(dim=-1)
            if choice.processors:
                scores[place] = choice.processors(token_ids[place], scores[place : place + 1])[0]
        except Exception as error:
            errors[place] = error
    chosen = scores.argmax(dim=-1)
    for place, choice in enumerate(choices):
        if choice.generator and place not in errors:
            try:
                chosen[place] = _draw(scores[place : place + 1], choice.generator)
            except Exception as error:
                errors[place] = error
    return [
        errors.get(place)
        or Chosen(
            chosen[place : place + 1], number, _logprobs(log_probabilities.get(place), number, choice.num_top_logprobs)
        )
        for place, (number, choice) in enumerate(zip(chosen.tolist(), choices, strict=True))
    ]


def _draw(scores: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A token, shape (), by the softmax of scores of shape (1, vocabulary). Raises ArithmeticError."""
    # A penalty near 0 makes scores infinite, of which no softmax is a number.
    probabilities = scores.clamp(max=torch.finfo(scores.dtype).max).softmax(dim=-1)
    # Looked at first: on a GPU torch answers such a draw by an assertion there, after which the process is lost.
    if not bool(probabilities.isfinite().all()):
        raise ArithmeticError("the model's scores are no numbers: no token can be drawn from them")
    return torch.multinomial(probabilities, num_samples=1, generator=generator)[0, 0]


def _generator(seed: int | None, device: torch.device) -> torch.Generator:
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _logprobs(log_probabilities: torch.Tensor | None, number: int, num_top: int | None) -> Logprobs | None:
    """Of a place, from shape (vocabulary,)."""
    if log_probabilities is None or num_top is None:
        return None
    top = log_probabilities.topk(min(num_top, len(log_probabilities)))
    return Logprobs(
        float(log_probabilities[number]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    )
