"""Text comes out as it becomes certain, and all of it is what the tokenizer decodes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from chassis import checkpoint
from chassis.pretrained import load_tokenizer
from services.generator.text.detokenizer import Detokenizer
from tests.unit import seeded_generators as seeded

MAKE = {
    "byte-level-bpe": seeded.bart_tokenizer,
    "unigram": seeded.t5_tokenizer,
    "byte-fallback": seeded.llama_tokenizer,
}
NAMES = [*MAKE, "wordpiece"]
TEXTS = [
    "Hello  world,\n\tthis is it.",
    " leading space and trailing ",
    "文档中的句子。第二句！",
    "👩‍👩‍👧 and 🙂🙂 or é",
    "🏳️‍🌈🏴\U000e0067\U000e0062\U000e007f 👍🏽 e\u0301a\u0308\u0323 हिन्दी",
    "naïve café Größe",
]


@cache
def tokenizer_named(name: str) -> PreTrainedTokenizerBase:
    if name == "wordpiece":
        return load_tokenizer(checkpoint.find("embedded").path)
    with TemporaryDirectory() as folder:
        MAKE[name]().save_pretrained(folder)
        return load_tokenizer(Path(folder))


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2's: characters that the vocabulary lacks are spelled byte by byte."""
    control = ["<unk>", "<s>", "</s>"]
    letters = ["▁", *"abcdehiorst", "▁a", "▁t", "th", "▁th", "▁the"]
    vocabulary = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [("▁", "a"), ("▁", "t"), ("t", "h"), ("▁t", "h"), ("▁th", "e")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: number for number, token in enumerate(vocabulary)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def deltas_of(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.add(token_id) for token_id in token_ids), detokenizer.end()]


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_deltas_of_any_tokens_are_their_text(name: str, data: st.DataObject) -> None:
    tokenizer = tokenizer_named(name)
    ids = st.integers(0, min(len(tokenizer), 600) - 1)
    token_ids = data.draw(st.lists(ids | st.sampled_from(tokenizer.all_special_ids), max_size=40))
    deltas = deltas_of(tokenizer, token_ids)
    assert "".join(deltas) == tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", NAMES)
@given(st.sampled_from(TEXTS) | st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_delta_holds_a_part_of_a_character(name: str, text: str) -> None:
    tokenizer = tokenizer_named(name)
    token_ids = tokenizer.encode(text.replace("\ufffd", ""), add_special_tokens=False)
    assert all("\ufffd" not in delta for delta in deltas_of(tokenizer, token_ids))


def test_a_character_of_several_tokens_comes_whole_with_its_last() -> None:
    tokenizer = tokenizer_named("byte-level-bpe")
    token_ids = tokenizer.encode("🦆", add_special_tokens=False)
    assert len(token_ids) > 1
    assert deltas_of(tokenizer, token_ids) == [*[""] * (len(token_ids) - 1), "🦆", ""]


def test_bytes_that_are_decoded_together_come_together() -> None:
    """The last of them may break all the others."""
    tokenizer = tokenizer_named("byte-fallback")
    start, whole, broken, word = tokenizer.convert_tokens_to_ids(["<0xC3>", "<0xA9>", "<0xE2>", "▁a"])
    assert deltas_of(tokenizer, [start, whole, word]) == ["", "", "é a", ""]
    assert deltas_of(tokenizer, [start, whole, broken, word]) == ["", "", "", "\ufffd\ufffd\ufffd a", ""]


def test_a_space_between_words_survives_a_control_token() -> None:
    tokenizer = tokenizer_named("unigram")
    token_ids = tokenizer.encode("the question", add_special_tokens=False)
    word_at = next(i for i, token in enumerate(tokenizer.convert_ids_to_tokens(token_ids)) if i and "▁" in token)
    token_ids.insert(word_at, tokenizer.eos_token_id)
    assert "".join(deltas_of(tokenizer, token_ids)) == "the question"
