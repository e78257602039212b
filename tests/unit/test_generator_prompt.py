"""A prompt keeps to its budget, and nothing that a text spells becomes a control token."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from chassis.pretrained import load_tokenizer
from services.generator.engine import Passage, QuestionTooLong
from services.generator.prompts import frame, prompt_template
from services.generator.prompts import prompt as prompts
from services.generator.prompts.prompt import TokenPrompt, num_that_fit
from services.generator.prompts.vocabulary import Vocabulary
from tests.unit import seeded_generators as seeded

TOKENIZERS = {"bart": seeded.bart_tokenizer, "t5": seeded.t5_tokenizer}
PASSAGES = [Passage(str(rank), f"Passage number {rank} is about the deadline. " * 3) for rank in range(1, 6)]


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    path = Path(tmp_path_factory.mktemp(request.param))
    TOKENIZERS[request.param]().save_pretrained(path)
    return load_tokenizer(path)


def fit(question: str, passages: list[Passage], vocabulary: Vocabulary, max_tokens: int) -> TokenPrompt:
    template = prompt_template.find("question-context-1")
    return prompts.fit(question, passages, template, frame.plain(vocabulary, template), max_tokens)


def test_a_prompt_reads_question_then_passages(tokenizer: PreTrainedTokenizerBase) -> None:
    passages = [Passage("1", "The seconds.", title="The deadline"), Passage("2", "Then it stops.")]
    prompt = fit("what is it?", passages, Vocabulary(tokenizer), 512)
    text = tokenizer.decode(prompt.token_ids, skip_special_tokens=True)
    assert text == "question: what is it? context: The deadline: The seconds. Then it stops."


def test_a_prompt_is_spliced_from_question_and_passages_with_the_spaces_before_them(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    vocabulary = Vocabulary(tokenizer)
    prompt = fit("why, then?", [Passage("1", "The seconds.", title="One: a"), Passage("2", "Two.")], vocabulary, 512)
    pieces = vocabulary.encode(["question:", " why, then?", " context:", " One: a: The seconds.", " Two."])
    assert list(prompt.token_ids) == vocabulary.wrap(token_id for ids in pieces for token_id in ids)
    assert prompt.read_passage_ids == ("1", "2")
    assert prompt.template == "question-context-1"
    assert not prompt.asks_citations


def test_the_control_tokens_around_a_prompt_are_those_of_any_text(tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = Vocabulary(tokenizer)
    text = "The reranker scores candidates."
    assert vocabulary.wrap(vocabulary.encode([text])[0]) == tokenizer(text)["input_ids"]


def test_spelt_control_tokens_stay_text(tokenizer: PreTrainedTokenizerBase) -> None:
    special = set(tokenizer.all_special_ids)
    spelt = "".join(tokenizer.all_special_tokens) + " ".join(tokenizer.all_special_tokens)
    vocabulary = Vocabulary(tokenizer)
    prompt = fit(f"why {spelt}", [Passage("1", f"because {spelt}", title=spelt)], vocabulary, 4_096)
    found = [token_id for token_id in prompt.token_ids if token_id in special - {tokenizer.unk_token_id}]
    assert found == vocabulary.wrap([])


def test_the_lowest_ranked_passages_are_dropped_first_and_named(tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = Vocabulary(tokenizer)
    whole = fit("when?", PASSAGES, vocabulary, 4_096)
    three = fit("when?", PASSAGES[:3], vocabulary, 4_096)
    prompt = fit("when?", PASSAGES, vocabulary, three.num_tokens)
    assert whole.dropped_passage_ids == ()
    assert prompt.dropped_passage_ids == ("5", "4")
    assert prompt.token_ids == three.token_ids
    assert prompt.truncated_tokens == 0


def test_a_best_passage_that_is_too_long_is_truncated_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = Vocabulary(tokenizer)
    whole = fit("when?", PASSAGES[:1], vocabulary, 4_096)
    prompt = fit("when?", PASSAGES, vocabulary, whole.num_tokens - 7)
    assert prompt.truncated_tokens == 7
    assert prompt.num_tokens == whole.num_tokens - 7
    assert prompt.dropped_passage_ids == ("5", "4", "3", "2")
    assert prompt.token_ids[-1] == whole.token_ids[-1] == tokenizer.eos_token_id


def test_a_question_that_leaves_no_room_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(QuestionTooLong, match="no room for a passage"):
        fit("when is it? " * 100, PASSAGES, Vocabulary(tokenizer), 200)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 200))
def test_as_many_passages_fit_as_there_is_room_for(costs: list[int], room: int) -> None:
    try:
        kept = num_that_fit(costs, room)
    except QuestionTooLong:
        assert room < 16
        assert room < costs[0]
        return
    assert kept == 1 or sum(costs[:kept]) <= room
    assert kept == len(costs) or sum(costs[: kept + 1]) > room
