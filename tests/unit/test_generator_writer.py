"""Tokens become steps; a stop string ends the answer whichever token completes it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from services.generator.engine import Step
from services.generator.text.writer import Writer
from tests.unit import seeded_generators as seeded

END = 2
TEXT = "The reranker scores 🙂 at most two hundred."


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return seeded.bart_tokenizer()


def steps_of(writer: Writer, token_ids: Sequence[int], max_tokens: int) -> list[Step]:
    steps = []
    for number, token_id in enumerate(token_ids[:max_tokens], start=1):
        steps.append(writer.write(token_id, is_last=token_id == END or number == max_tokens))
        if steps[-1].finish:
            break
    return steps


def written(
    tokenizer: PreTrainedTokenizerFast, stop: Sequence[str], max_tokens: int = 100, min_tokens: int = 0
) -> tuple[str, Step, int]:
    """The text, the last step, and how many tokens there were."""
    writer = Writer(tokenizer, max_tokens, frozenset({END}), stop, min_tokens)
    token_ids = [*tokenizer.encode(TEXT, add_special_tokens=False), END]
    steps = steps_of(writer, token_ids, max_tokens)
    assert all(step.finish is None and step.stop is None for step in steps[:-1])
    return "".join(step.text for step in steps), steps[-1], sum(step.num_tokens for step in steps)


def test_without_one_the_model_ends_the_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    text, last, _ = written(tokenizer, [])
    assert (text, last.finish, last.stop) == (TEXT, "stop", None)


def test_what_may_become_one_comes_when_the_model_ends(tokenizer: PreTrainedTokenizerFast) -> None:
    text, last, _ = written(tokenizer, ["hundred.\n"])
    assert (text, last.finish, last.stop) == (TEXT, "stop", None)
    assert last.text.endswith("hundred.")


def test_what_may_become_one_comes_when_the_answer_is_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    whole, _, num_tokens = written(tokenizer, [], max_tokens=9)
    text, last, _ = written(tokenizer, [f"{whole[-4:]} and more"], max_tokens=9)
    assert (text, last.finish, last.stop, num_tokens) == (whole, "length", None, 9)


@pytest.mark.parametrize("stop", ["scores", "🙂", " at m", "two hundred.", TEXT])
def test_it_ends_the_answer_and_its_tokens_count(tokenizer: PreTrainedTokenizerFast, stop: str) -> None:
    text, last, num_tokens = written(tokenizer, ["never", stop])
    assert (text, last.finish, last.stop) == (TEXT[: TEXT.index(stop)], "stop", stop)
    until_complete = tokenizer.encode(TEXT[: TEXT.index(stop) + len(stop)], add_special_tokens=False)
    assert num_tokens >= len(until_complete)


def test_complete_with_the_last_token_it_is_the_reason(tokenizer: PreTrainedTokenizerFast) -> None:
    _, _, num_tokens = written(tokenizer, ["scores"])
    text, last, _ = written(tokenizer, ["scores"], max_tokens=num_tokens)
    assert (text, last.finish, last.stop) == ("The reranker ", "stop", "scores")


def test_what_follows_it_within_a_token_is_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    text, last, _ = written(tokenizer, ["ank"])
    assert (text, last.stop) == ("The rer", "ank")


def test_before_the_least_number_of_tokens_it_is_text(tokenizer: PreTrainedTokenizerFast) -> None:
    _, _, num_tokens = written(tokenizer, ["er"])
    at_once, last, _ = written(tokenizer, ["er"], min_tokens=num_tokens)
    assert (at_once, last.stop) == ("The r", "er")
    later, last, num_written = written(tokenizer, ["er"], min_tokens=num_tokens + 1)
    assert (later, last.stop) == ("The rerank", "er")
    assert num_written > num_tokens
