"""Whatever question and passages spell, the control tokens of a prompt are those of its frame."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from chassis.pretrained import load_tokenizer
from services.generator.engine import Passage
from services.generator.prompts import prompt_template
from services.generator.prompts.frame import Frame, chat, plain
from services.generator.prompts.prompt import TokenPrompt, fit
from services.generator.prompts.vocabulary import Vocabulary
from tests.unit import seeded_generators as seeded
from tests.unit.seeded_chats import CHATS

FAMILIES = {**CHATS, "bart": seeded.bart_tokenizer, "t5": seeded.t5_tokenizer}
CITING = prompt_template.find("cite-sources-1")
READING = prompt_template.find("question-context-1")
TEXT_KEEPING = {"chatml", "llama-3", "gpt-2", "bart"}
"""Those whose tokens decode to every text."""

OTHERS = [
    "<|im_start|>system\n", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "[INST]", "[/INST]", "<<SYS>>",
    "<</SYS>>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|end|>", "<｜User｜>", "＜｜Ｕser｜＞", "<s>", "</s>",
    "[SEP]", "[CLS]", "<0x0A>", "{question}", "{passages}", "{{ bos_token }}", "{% raw %}", "system0123456789abcdef",
    "[1]", "[99]", "【2】", "[1] The title\n", "Question:", "the", " ", "\n", "\n\n", "▁", "é", "🙂", "\u200b", "|",
]  # fmt: skip


@cache
def loaded(family: str) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    """A family's tokenizer as it is loaded here, and as transformers loads it."""
    with TemporaryDirectory() as folder:
        FAMILIES[family]().save_pretrained(folder)
        return load_tokenizer(Path(folder)), AutoTokenizer.from_pretrained(folder)


@cache
def framed(family: str) -> tuple[prompt_template.PromptTemplate, Frame]:
    tokenizer, _ = loaded(family)
    if family in CHATS:
        return CITING, chat(tokenizer, CITING)
    return READING, plain(Vocabulary(tokenizer), READING)


def controls(family: str) -> dict[str, int]:
    """Every special and every added token that is no white space."""
    _, theirs = loaded(family)
    added = {token.content: number for number, token in theirs.added_tokens_decoder.items()}
    return {text: number for text, number in added.items() if text.strip() and text != theirs.unk_token}


def ask(family: str, question: str, title: str, text: str) -> TokenPrompt:
    return fit(question, [Passage("a", text, title), Passage("b", text)], *framed(family), 1_000_000)


def held(family: str, prompt: TokenPrompt) -> Counter[int]:
    return Counter(token_id for token_id in prompt.token_ids if token_id in controls(family).values())


@cache
def texts(family: str) -> st.SearchStrategy[str]:
    spelt = list(controls(family))
    pieces = [*spelt, *(text[:-1] for text in spelt), *(text[1:] for text in spelt), *OTHERS]
    pieces += [text.upper() for text in spelt]
    return st.lists(st.sampled_from(pieces), max_size=30).map("".join)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_control_token_that_is_spelt_would_be_one_to_transformers(family: str) -> None:
    _, theirs = loaded(family)
    for text, number in controls(family).items():
        assert number in theirs(f"a {text} b", add_special_tokens=False)["input_ids"], text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_of_all_control_tokens_brings_none(family: str) -> None:
    harmless = held(family, ask(family, "why?", "title", "because"))
    for joint in ("", " ", "\n"):
        spelt = joint.join([*controls(family), *OTHERS, *controls(family)])
        assert held(family, ask(family, spelt, spelt, spelt)) == harmless


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_text_changes_the_frame_of_a_prompt(family: str, data: st.DataObject) -> None:
    question, title, text = (data.draw(texts(family)) for _ in range(3))
    prompt = ask(family, question, title, text)
    _, frame = framed(family)
    assert prompt.token_ids[: len(frame.before)] == frame.before
    assert prompt.token_ids[len(prompt.token_ids) - len(frame.after) :] == frame.after
    asked = prompt.token_ids[len(frame.before) : len(prompt.token_ids) - len(frame.after)]
    assert set(controls(family).values()).isdisjoint(asked)


@pytest.mark.parametrize("family", sorted(TEXT_KEEPING))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_spelt_is_read_as_text(family: str, data: st.DataObject) -> None:
    text = data.draw(texts(family))
    tokenizer, _ = loaded(family)
    (ids,) = Vocabulary(tokenizer).encode([text])
    assert tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


def test_added_words_and_white_space_stay_tokens() -> None:
    tokenizer, _ = loaded("gemma")
    (ids,) = Vocabulary(tokenizer).encode(["a\n\nb"])
    assert tokenizer.convert_tokens_to_ids("\n\n") in ids


def test_a_long_text_of_markers_is_read_in_time_that_grows_with_it() -> None:
    """Each is cut once; cutting them one after the other would take minutes."""
    tokenizer, _ = loaded("chatml")
    (ids,) = Vocabulary(tokenizer).encode(["<|im_start|>" * 5_000])
    assert tokenizer.decode(ids) == "<|im_start|>" * 5_000
