"""A chat is what the checkpoint's own template makes of it, token for token, whoever's text is in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from chassis.config import ConfigError
from chassis.pretrained import load_tokenizer
from services.generator.engine import Passage, QuestionTooLong
from services.generator.prompts import frame, prompt, prompt_template
from tests.unit.seeded_chats import CHATML, CHATS

TEMPLATE = prompt_template.find("cite-sources-1")
QUESTION = "How long is it?"
PASSAGES = [Passage("a", "The deadline is ten seconds.", "The deadline"), Passage("b", "A trace follows it.")]
USER = "Passages:\n\n[1] The deadline\nThe deadline is ten seconds.\n\n[2] A trace follows it.\n\nQuestion: " + QUESTION
WITHOUT_SYSTEM = {"gemma", "mistral"}


@cache
def both(family: str, chat_template: str | None = None) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    """A family's tokenizer as it is loaded here, and as transformers loads it."""
    with TemporaryDirectory() as folder:
        tokenizer = CHATS[family]()
        tokenizer.chat_template = chat_template or tokenizer.chat_template
        tokenizer.save_pretrained(folder)
        return load_tokenizer(Path(folder)), AutoTokenizer.from_pretrained(folder)


def fit(tokenizer: PreTrainedTokenizerBase, max_tokens: int = 4_096) -> prompt.TokenPrompt:
    return prompt.fit(QUESTION, PASSAGES, TEMPLATE, frame.chat(tokenizer, TEMPLATE), max_tokens)


def native(tokenizer: PreTrainedTokenizerBase, *messages: tuple[str, str]) -> tuple[int, ...]:
    chat = [{"role": role, "content": text} for role, text in messages]
    read: Any = tokenizer.apply_chat_template(chat, add_generation_prompt=True)
    return tuple(read["input_ids"])


@pytest.mark.parametrize("family", sorted(CHATS.keys() - WITHOUT_SYSTEM - {"gpt-2"}))
def test_a_chat_is_token_for_token_that_of_its_template(family: str) -> None:
    tokenizer, theirs = both(family)
    assert fit(tokenizer).token_ids == native(theirs, ("system", TEMPLATE.system), ("user", USER))


@pytest.mark.parametrize("family", sorted(WITHOUT_SYSTEM))
def test_where_no_system_may_speak_the_user_says_it(family: str) -> None:
    tokenizer, theirs = both(family)
    assert fit(tokenizer).token_ids == native(theirs, ("user", f"{TEMPLATE.system}\n\n{USER}"))


def test_without_a_chat_template_it_is_one_text_that_asks_for_an_answer() -> None:
    tokenizer, theirs = both("gpt-2")
    assert fit(tokenizer).token_ids == tuple(theirs(f"{TEMPLATE.system}\n\n{USER}\n\nAnswer:")["input_ids"])


@pytest.mark.parametrize("family", [family for family in CHATS if family not in {"chatml", "brackets", "phi"}])
def test_a_chat_begins_once(family: str) -> None:
    tokenizer, _ = both(family)
    token_ids = fit(tokenizer).token_ids
    assert token_ids[0] == tokenizer.bos_token_id
    assert token_ids.count(tokenizer.bos_token_id) == 1


def test_a_template_without_a_system_text_lets_nobody_but_the_user_speak() -> None:
    template = prompt_template.find("question-context-1")
    tokenizer, theirs = both("chatml")
    read = prompt.fit("why?", [Passage("a", "because")], template, frame.chat(tokenizer, template), 512)
    assert read.token_ids == native(theirs, ("user", "question: why? context: because"))


def test_a_full_chat_drops_passages_and_keeps_its_frame() -> None:
    tokenizer, _ = both("llama-3")
    whole = fit(tokenizer)
    read = fit(tokenizer, whole.num_tokens - 1)
    before, after = frame.chat(tokenizer, TEMPLATE).before, frame.chat(tokenizer, TEMPLATE).after
    assert read.dropped_passage_ids == ("b",)
    assert read.read_passage_ids == ("a",)
    assert read.token_ids[: len(before)] == before
    assert read.token_ids[-len(after) :] == after
    with pytest.raises(QuestionTooLong):
        fit(tokenizer, len(before) + len(after) + 20)


@pytest.mark.parametrize(
    "chat_template",
    [
        pytest.param("{{ raise_exception('no') }}", id="raises"),
        pytest.param("<|im_start|>user", id="passes over it"),
        pytest.param("{{ messages[-1].content }} {{ messages[-1].content }}", id="says it twice"),
        pytest.param("{{ messages[-1].content | upper }}", id="changes it"),
    ],
)
def test_a_chat_template_that_does_not_show_what_it_is_told_is_refused(chat_template: str) -> None:
    tokenizer, _ = both("chatml", chat_template)
    with pytest.raises(ConfigError, match="does not show"):
        frame.chat(tokenizer, TEMPLATE)


def test_a_model_that_could_think_first_is_asked_not_to() -> None:
    thinking = CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    tokenizer, _ = both("chatml", thinking)
    after = frame.chat(tokenizer, TEMPLATE).after
    assert "<think>" in tokenizer.convert_ids_to_tokens(list(after))
