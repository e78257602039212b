"""How many tokens the cache may take: as many as there is memory for, and no more than are ever used."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache

from chassis.config import ConfigError
from services.generator.engine import Sampling
from services.generator.loop.room import Room, Size
from services.generator.rows.cache_budget import measured, token_bytes, warn_of_refusals
from tests.unit import random_models as models


def cache_of(num_layers: int, num_rows: int, num_columns: int) -> DynamicCache:
    """4 heads of 8 float32 values: 128 bytes of keys and 128 of values for a token in a layer."""
    cache = DynamicCache()
    for layer in range(num_layers):
        cache.update(*torch.zeros(2, num_rows, 4, num_columns, 8), layer)
    return cache


def test_a_token_takes_keys_and_values_of_every_layer() -> None:
    assert token_bytes(cache_of(3, num_rows=1, num_columns=5)) == 3 * 256
    assert token_bytes(cache_of(3, num_rows=7, num_columns=2)) == 3 * 256


def test_of_prompt_and_answer_the_larger_counts() -> None:
    cache = EncoderDecoderCache(cache_of(1, 1, 3), cache_of(2, 1, 9))
    assert token_bytes(cache) == 2 * 256


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_what_a_token_takes_is_measured_and_leaves_nothing_behind(family: str) -> None:
    flight = models.fly(models.make(family))
    assert (
        flight.token_bytes(models.prompt_of(5, 6, 7), Sampling(2)) == 2 * 2 * 16 * 8
    )  # layers, keys and values, width
    assert not flight._batches


def test_twice_the_budget_leaves_a_fifth_of_the_memory() -> None:
    assert measured(free_bytes=1_000_000, bytes_of_token=100, most=1 << 30) == 4_000


def test_more_than_all_rows_could_use_is_not_asked_for() -> None:
    assert measured(free_bytes=1 << 40, bytes_of_token=100, most=5_000) == 5_000


def test_a_small_limit_of_requests_is_no_lack_of_memory() -> None:
    assert measured(free_bytes=1 << 40, bytes_of_token=100, most=10) == 10


def test_too_little_memory_is_a_refusal_to_start_that_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"10 tokens .* 64 .* 2,500 bytes .* 100; give the process more memory"):
        measured(free_bytes=2_500, bytes_of_token=100, most=5_000)


def test_requests_that_will_be_refused_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_refusals(tokens=100, largest=100)
        assert not caplog.records
        warn_of_refusals(tokens=99, largest=100)
    assert "are refused" in caplog.text


def test_after_a_shortage_nobody_joins_until_answers_have_ended() -> None:
    whole = Room(max_rows=8, max_cache_tokens=160)
    flying = [Size(10, 10)] * 3
    assert whole.fits(Size(10, 10), flying, [])
    shrunk = whole.shrunk(flying)
    assert not shrunk.fits(Size(1, 1), flying, [])
    regrown = shrunk.regrown(whole).regrown(whole)
    assert regrown.fits(Size(10, 10), flying, [])
    assert not regrown.fits(Size(10, 10), [*flying, Size(10, 10)], [])
    for _ in range(100):
        regrown = regrown.regrown(whole)
    assert regrown == whole


def test_a_room_that_shrank_to_nothing_still_takes_one() -> None:
    assert Room(max_rows=8, max_cache_tokens=160).shrunk([]).fits(Size(80, 80), [], [])


def test_who_was_put_back_is_read_with_all_that_it_wrote() -> None:
    room = Room(max_rows=8, max_prefill_tokens=30)
    assert room.fits(Size(10, 50), [], [Size(10, 50, num_written_tokens=5)])
    assert not room.fits(Size(10, 50), [], [Size(10, 50, num_written_tokens=6)])
