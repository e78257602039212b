"""How an answer is asked to be written, over the wire: what is obeyed, and what is refused by name."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import grpc
import pytest

from chassis.errors import InvalidRequest
from services.generator.config import GeneratorConfig
from services.generator.wire import read_sampling
from tests.unit import seeded_generators as seeded
from tests.unit.test_generator_service import Served, field_of, request, sampled, served, until
from trivium.v1 import generator_pb2 as pb

INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "max 0": ({"max_output_tokens": 0}, "max_output_tokens"),
    "max above": ({"max_output_tokens": 4_097}, "max_output_tokens"),
    "min above the default max": ({"min_output_tokens": 257}, "min_output_tokens"),
    "min above max": ({"max_output_tokens": 9, "min_output_tokens": 10}, "min_output_tokens"),
    "temperature below": ({"temperature": -0.1}, "temperature"),
    "temperature above": ({"temperature": 2.01}, "temperature"),
    "temperature nan": ({"temperature": math.nan}, "temperature"),
    "temperature infinite": ({"temperature": math.inf}, "temperature"),
    "top_k 0": ({"temperature": 1, "top_k": 0}, "top_k"),
    "top_k above": ({"temperature": 1, "top_k": 1_001}, "top_k"),
    "top_k alone": ({"top_k": 5}, "top_k"),
    "top_p 0": ({"temperature": 1, "top_p": 0}, "top_p"),
    "top_p above": ({"temperature": 1, "top_p": 1.1}, "top_p"),
    "top_p nan": ({"temperature": 1, "top_p": math.nan}, "top_p"),
    "top_p alone": ({"top_p": 0.5}, "top_p"),
    "top_p at temperature 0": ({"temperature": 0, "top_p": 0.5}, "top_p"),
    "min_p below": ({"temperature": 1, "min_p": -0.1}, "min_p"),
    "min_p above": ({"temperature": 1, "min_p": 1.1}, "min_p"),
    "min_p alone": ({"min_p": 0.5}, "min_p"),
    "seed alone": ({"seed": 0}, "seed"),
    "penalty 0": ({"repetition_penalty": 0}, "repetition_penalty"),
    "penalty above": ({"repetition_penalty": 10.1}, "repetition_penalty"),
    "penalty infinite": ({"repetition_penalty": -math.inf}, "repetition_penalty"),
    "ngram above": ({"no_repeat_ngram_size": 101}, "no_repeat_ngram_size"),
    "17 stops": ({"stop": ["a"] * 17}, "stop"),
    "empty stop": ({"stop": ["a", ""]}, "stop[1]"),
    "long stop": ({"stop": ["a" * 257]}, "stop[0]"),
    "beams 0": ({"num_beams": 0}, "num_beams"),
    "beams above": ({"num_beams": 17}, "num_beams"),
    "beams with temperature": ({"num_beams": 2, "temperature": 0.1}, "num_beams"),
    "beams with logprobs": ({"num_beams": 2, "num_top_logprobs": 0}, "num_beams"),
    "logprobs above": ({"num_top_logprobs": 21}, "num_top_logprobs"),
}

VALID: dict[str, dict[str, Any]] = {
    "nothing": {},
    "least": {
        **{"max_output_tokens": 1, "min_output_tokens": 0, "temperature": 1e-300, "top_k": 1, "top_p": 1e-300},
        **{"min_p": 0, "repetition_penalty": 1e-300, "no_repeat_ngram_size": 0, "seed": 0, "num_beams": 1},
        "num_top_logprobs": 0,
    },
    "most": {
        **{"max_output_tokens": 6, "min_output_tokens": 6, "temperature": 2, "top_k": 1_000, "top_p": 1, "min_p": 1},
        **{"repetition_penalty": 10, "no_repeat_ngram_size": 100, "seed": 2**64 - 1, "num_top_logprobs": 20},
    },
    "greedy": {"max_output_tokens": 5, "temperature": 0, "num_beams": 1},
    "beams": {"max_output_tokens": 5, "temperature": 0, "num_beams": 16},
}


def asked(**fields: Any) -> pb.GenerateRequest:
    one = request()
    one.sampling.CopyFrom(pb.Sampling(**fields))
    return one


async def refusal(generator: Served, one: pb.GenerateRequest) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await generator.answer(one)
    return field_of(raised.value)


@pytest.fixture
def settings(tmp_path: Path) -> GeneratorConfig:
    seeded.save_bart(tmp_path, min_new_tokens=4)
    return GeneratorConfig(device="cpu", engine="seq2seq", model=str(tmp_path))


async def test_what_the_contract_does_not_allow_is_refused_by_name_and_its_limits_are_taken(
    settings: GeneratorConfig,
) -> None:
    async with served(settings) as generator:
        for name, (fields, field) in INVALID.items():
            assert await refusal(generator, asked(**fields)) == f"sampling.{field}", name
        for fields in VALID.values():
            deltas, finished = await generator.answer(asked(**fields))
            assert finished.usage.output_tokens >= fields.get("min_output_tokens", 0)
            told = sum(len(delta.tokens) for delta in deltas)
            assert told == (finished.usage.output_tokens if "num_top_logprobs" in fields else 0)


async def test_extractive_ignores_all_but_the_length() -> None:
    async with served(GeneratorConfig(device="cpu")) as generator:
        plain = await generator.answer(asked(max_output_tokens=5))
        sampled = await generator.answer(asked(max_output_tokens=5, num_beams=4, repetition_penalty=3))
        assert [delta.text for delta in plain[0]] == [delta.text for delta in sampled[0]]
        assert await refusal(generator, asked(temperature=9)) == "sampling.temperature"


@pytest.mark.parametrize(
    "fields",
    [
        *({"temperature": 0}, {"min_output_tokens": 0}, {"repetition_penalty": 1}, {"no_repeat_ngram_size": 0}),
        *({"stop": ["a"]}, {"num_beams": 1}, {"num_top_logprobs": 0}),
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_rag_refuses_all_but_the_length(fields: dict[str, Any], tmp_path: Path) -> None:
    seeded.save_rag(tmp_path)
    async with served(GeneratorConfig(device="cpu", engine="rag-token", model=str(tmp_path))) as generator:
        one = asked(**fields)
        one.passage_scores.append(1.0)
        assert await refusal(generator, one) == f"sampling.{next(iter(fields))}"


def test_beams_are_refused_by_an_engine_that_has_none() -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_sampling(pb.Sampling(num_beams=2), "causal", 100)
    assert [field for field, _ in raised.value.violations] == ["sampling.num_beams"]
    assert read_sampling(pb.Sampling(num_beams=1), "causal", 100).num_beams == 1


async def test_a_seed_draws_the_same_again_and_no_seed_does_not(settings: GeneratorConfig) -> None:
    async with served(settings) as generator:

        async def text(**fields: Any) -> str:
            deltas, _ = await generator.answer(asked(max_output_tokens=20, temperature=1.5, **fields))
            return "".join(delta.text for delta in deltas)

        assert len({await text(seed=5) for _ in range(3)}) == 1
        assert len({await text(seed=seed) for seed in range(3)}) == 3
        assert len({await text() for _ in range(3)}) == 3


async def test_every_token_is_told_even_where_no_text_is_certain(settings: GeneratorConfig) -> None:
    """Seeded bytes are rarely characters: most tokens bring no text of their own, and the last has none at all."""
    async with served(settings) as generator:
        one = asked(max_output_tokens=20, min_output_tokens=20, temperature=1.5, seed=1, num_top_logprobs=2)
        deltas, finished = await generator.answer(one)
    tokens = [token for delta in deltas for token in delta.tokens]
    assert len(tokens) == finished.usage.output_tokens == 20
    assert len(deltas) < len(tokens)
    for token in tokens:
        assert len(token.top) == 2
        assert token.top[0].logprob >= token.top[1].logprob
        assert token.chosen.logprob <= token.top[0].logprob <= 0
        assert token.chosen.token


async def test_a_search_comes_in_one_piece_beside_others_and_can_be_left(settings: GeneratorConfig) -> None:
    async with served(settings) as generator:
        left = generator.stub.Generate(asked(max_output_tokens=159, min_output_tokens=159, num_beams=4))
        await until(lambda: generator.queue.statistics["submitted"] == 1)
        (deltas, searched), (_, beside) = await asyncio.gather(
            generator.answer(asked(max_output_tokens=12, num_beams=3)), generator.answer(sampled(12))
        )
        assert not left.done()
        left.cancel()
        await until(lambda: generator.queue.statistics["cancelled"] == 1)
        _, after = await generator.answer(asked(max_output_tokens=5, num_beams=2))
    assert len(deltas) == 1
    assert 4 <= searched.usage.output_tokens <= 12
    assert searched.stats.batch_size > 1
    assert beside.usage.output_tokens <= 12
    assert after.usage.output_tokens <= 5
