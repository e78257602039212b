"""Hundreds of requests at random times through the real loop: each answer is the model's own for it alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from chassis.cost_model import CostModel
from chassis.deadline import NEVER
from chassis.executor import SingleThread
from chassis.queue import Queue
from services.generator.engine import Sampling
from services.generator.loop.decoding import DecodingLoop
from services.generator.loop.flyer import Ended, Generation
from services.generator.loop.room import Room
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.rules import options
from tests.unit import random_models as models

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

NUM_REQUESTS = 300
FAMILIES = ["t5", "bart", "llama", "gpt2"]
MAX_DIFFERENT = 0.1
"""Of greedy answers in float32, where a product of several rows rounds otherwise than that of one. The share is
printed; this bound is only for what is broken."""

RULES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 9},
    {"temperature": 1.0, "top_p": 0.8},
    {"temperature": 1.1, "min_p": 0.05},
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 2},
    {"min_output_tokens": 9},
    {"temperature": 0.9, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
]

Request = tuple[TokenPrompt, Sampling]


def requests_of(kind: str) -> list[Request]:
    random = np.random.default_rng(11)
    asked = list(models.random_requests(random, NUM_REQUESTS, longest=30))
    if kind == "greedy":
        return asked
    return [
        (prompt, _ruled(sampling, RULES[int(random.integers(len(RULES)))], int(random.integers(2**32))))
        for prompt, sampling in asked
    ]


def _ruled(sampling: Sampling, rules: dict[str, Any], seed: int) -> Sampling:
    longest = max(sampling.max_output_tokens, rules.get("min_output_tokens", 0))
    return replace(sampling, **rules, max_output_tokens=longest, seed=seed if "temperature" in rules else None)


def alone(model: PreTrainedModel, prompt: TokenPrompt, sampling: Sampling) -> str:
    """By the model's own `generate`, with its seed."""
    torch.manual_seed(sampling.seed or 0)
    token_ids = torch.tensor([prompt.token_ids])
    written = model.generate(
        token_ids, attention_mask=torch.ones_like(token_ids), **options(model, prompt.token_ids, sampling)
    )
    num_read = 1 if model.config.is_encoder_decoder else len(prompt.token_ids)
    return "".join(f"{token_id} " for token_id in written[0, num_read:].tolist())


async def written(model: PreTrainedModel, requests: Sequence[Request]) -> list[str]:
    """By the loop, eight rows at most, each asked at a random time."""
    random, device = np.random.default_rng(12), SingleThread("device")
    queue: Queue[Generation] = Queue(
        clock=time.monotonic, cost_model=CostModel(), max_entries=len(requests), max_skips=8
    )
    loop = DecodingLoop(models.fly(model), queue, device.run, Room(8, 8 * 70, 100))
    loop.start()

    async def ask(request: Request, at: float) -> str:
        await asyncio.sleep(at)
        events = loop.answer(*request, NEVER)
        return "".join([event.text async for event in events if not isinstance(event, Ended)])

    at = np.cumsum(random.exponential(0.004, len(requests))).tolist()
    try:
        return await asyncio.gather(*map(ask, requests, at))
    finally:
        await loop.close()
        device.close()
        assert queue.statistics["served"] == len(requests)
        assert not queue.depth


@pytest.mark.parametrize("kind", ["greedy", "rules"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_every_answer_is_that_of_generate_alone(family: str, kind: str) -> None:
    model, requests = models.make(family), requests_of(kind)
    expected = [alone(model, *request) for request in requests]
    assert await written(model, requests) == expected
    assert len(set(expected)) > NUM_REQUESTS / 4, "it says the same whatever it reads"


@pytest.mark.parametrize("family", FAMILIES)
async def test_in_float32_rounding_alone_makes_answers_differ(family: str, record_testsuite_property: Any) -> None:
    model, requests = models.make(family).float(), requests_of("greedy")
    expected = [alone(model, *request) for request in requests]
    found = await written(model, requests)
    share = sum(one != other for one, other in zip(found, expected, strict=True)) / len(requests)
    record_testsuite_property(f"{family}: float32 answers that differ", share)
    print(f"{family}: {share:.1%} of {len(requests)} answers differ in float32")
    assert share <= MAX_DIFFERENT
