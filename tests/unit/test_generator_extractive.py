"""The extractive engine quotes what answers, byte for byte, and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from chassis import checkpoint
from services.generator.engine import Passage, QuestionTooLong, Quote, Sampling, Step
from services.generator.engines.extractive import Extractive

QUEUE = """## The queue

The queue stands apart from the batch former. Cancelled and expired entries are dropped
when the batch is formed, before any compute, and counted. A full queue refuses at once.

- Order: earliest deadline first within a class.
- What is dropped?
"""
TABLE = """| situation | status |
|---|---|
| no such collection | NOT_FOUND |
| deadline passed | DEADLINE_EXCEEDED |
"""
COAST = "The lighthouse was painted white in spring. Its keeper has two cats."
PASSAGES = [
    Passage("coast", COAST, "The coast", 40),
    Passage("queue", QUEUE, "Scheduling", 1_000),
    Passage("table", TABLE, "Errors", 5_000),
]


@cache
def engine() -> Extractive:
    return Extractive(checkpoint.find("embedded").path, "cpu", max_prompt_tokens=2_048, max_output_tokens=4_096)


def steps_of(question: str, passages: list[Passage], max_output_tokens: int = 256) -> list[Step]:
    return list(engine().generate(engine().fit(question, passages), Sampling(max_output_tokens)))


def quotes_of(question: str, passages: list[Passage], max_output_tokens: int = 256) -> list[Quote]:
    return [quote for step in steps_of(question, passages, max_output_tokens) for quote in step.quotes]


def test_the_sentence_that_answers_is_quoted_with_its_citation() -> None:
    steps = steps_of("When are cancelled entries dropped?", PASSAGES)
    sentence = "Cancelled and expired entries are dropped\nwhen the batch is formed, before any compute, and counted."
    texts = [step.text for step in steps if step.text]
    assert texts[0] == f"{sentence} [2]"
    start = 1_000 + QUEUE.index(sentence)
    first = next(step for step in steps if step.quotes)
    assert first.quotes == (Quote("queue", sentence, start, start + len(sentence)),)


@pytest.mark.parametrize("question", ["Who has two cats?", "What refuses?", "Which status has a passed deadline?"])
def test_every_quote_stands_in_its_passage_where_it_says(question: str) -> None:
    passage_by_id = {passage.passage_id: passage for passage in PASSAGES}
    quotes = quotes_of(question, PASSAGES)
    assert 1 <= len(quotes) <= 3
    for quote in quotes:
        passage = passage_by_id[quote.passage_id]
        assert passage.text[quote.start - passage.start : quote.end - passage.start] == quote.text


def test_a_question_is_not_answered_by_itself() -> None:
    assert "What is dropped?" not in {quote.text for quote in quotes_of("What is dropped?", PASSAGES)}


def test_a_table_answers_where_prose_does_not() -> None:
    assert quotes_of("Which status is sent when there is no such collection?", PASSAGES)[0].text == (
        "| no such collection | NOT_FOUND |"
    )


def test_a_heading_is_quoted_where_there_is_nothing_else() -> None:
    assert [quote.text for quote in quotes_of("What?", [Passage("1", "# Only a heading\n")])] == ["# Only a heading"]


def test_the_same_sentence_in_two_passages_is_quoted_once() -> None:
    passages = [Passage("1", COAST), Passage("2", COAST), Passage("3", COAST.replace("white", "white again"))]
    texts = [quote.text for quote in quotes_of("What was painted?", passages)]
    assert texts[0] == "The lighthouse was painted white in spring."
    assert not any("painted" in text for text in texts[1:])


def test_the_last_step_alone_says_why_it_ends() -> None:
    *others, last = steps_of("When are entries dropped?", PASSAGES)
    assert last.finish == "stop"
    assert others
    assert all(step.finish is None for step in others)


def test_an_answer_keeps_to_its_tokens() -> None:
    question = "Which entries are dropped, and when?"
    *_, whole = steps_of(question, PASSAGES)
    quotes = quotes_of(question, PASSAGES)
    num_tokens = engine().count_tokens([quotes[0].text])[0]
    steps = steps_of(question, PASSAGES, num_tokens - 1)
    assert sum(step.num_tokens for step in steps) == num_tokens - 1
    assert whole.finish == "stop"
    assert steps[-1].finish == "length"
    cut = steps[-1].quotes[0]
    assert quotes[0].text.startswith(cut.text)
    assert cut.end - cut.start == len(cut.text) < len(quotes[0].text)


def test_passages_beyond_the_budget_are_dropped_and_named() -> None:
    small = Extractive(checkpoint.find("embedded").path, "cpu", max_prompt_tokens=64, max_output_tokens=64)
    prompt = small.fit("Who has cats?", [PASSAGES[0], *PASSAGES[1:]])
    assert prompt.dropped_passage_ids == ("table", "queue")
    assert prompt.num_tokens <= 64
    prompt = small.fit("Which entries are dropped?", [Passage("long", QUEUE * 2)])
    assert prompt.truncated_tokens > 0
    assert prompt.num_tokens <= 64
    with pytest.raises(QuestionTooLong):
        small.fit("Why? " * 60, PASSAGES)


def test_a_question_longer_than_the_model_is_read_whole() -> None:
    question = "Why is the lighthouse white? " * 100 + "And who has two cats?"
    prompt = engine().fit(question, PASSAGES)
    num_asked = len(prompt.rows) - len(prompt.claims)
    assert num_asked == 2
    assert sum(len(row) - 2 for row in prompt.rows[:num_asked]) == engine().count_tokens([question])[0]


def test_vectors_are_those_of_sentence_transformers() -> None:
    texts = ["a", "Who has two cats?", QUEUE]
    reference = SentenceTransformer(str(checkpoint.find("embedded").path), device="cpu")
    expected = reference.encode(texts, normalize_embeddings=True)
    rows = [engine()._row(ids) for ids in engine()._vocabulary.encode(texts)]
    np.testing.assert_allclose(engine()._encode(rows), expected, atol=1e-5)


def test_rows_of_like_length_share_a_step() -> None:
    prompt = engine().fit("Which?", [Passage(str(n), f"{'word ' * 4 * n}end.") for n in range(1, 60)])
    assert sorted(row for step in prompt.steps for row in step) == list(range(len(prompt.rows)))
    assert len(prompt.steps) > 1
    assert prompt.num_tokens / prompt.num_padded_tokens > 0.75


def test_a_question_without_a_single_token_is_answered_like_any_other() -> None:
    assert quotes_of("\u200b", PASSAGES)


def test_a_passage_of_nothing_but_a_heading_does_not_push_out_the_one_that_answers() -> None:
    passages = [Passage("bare", "## The queue\n"), Passage("long", COAST * 60)]
    small = Extractive(checkpoint.find("embedded").path, "cpu", max_prompt_tokens=64, max_output_tokens=64)
    prompt = small.fit("Who has two cats?", passages)
    steps = list(small.generate(prompt, Sampling(64)))
    assert {quote.passage_id for step in steps for quote in step.quotes} == {"long"}
    assert prompt.truncated_tokens > 0
