"""Tokenizers and models are loaded so that text stays text and weights are the file's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from chassis import checkpoint
from chassis.config import ConfigError
from chassis.pretrained import load_model, load_tokenizer
from tests.unit import seeded_rerankers as seeded

SAVE_TOKENIZER: dict[str, Callable[[Path], None]] = {
    "wordpiece": seeded.save_bert_tokenizer,
    "byte-level-bpe": seeded.save_roberta_tokenizer,
    "unigram": seeded.save_t5_tokenizer,
}


@pytest.mark.parametrize("kind", SAVE_TOKENIZER)
@pytest.mark.parametrize("template", ["{}", "the {} is", "the{}is", "{0}{0}"])
def test_a_spelt_special_token_is_text(kind: str, template: str, tmp_path: Path) -> None:
    SAVE_TOKENIZER[kind](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    assert len(special) >= 5
    for text in special.values():
        ids = tokenizer.encode(template.format(text), add_special_tokens=False)
        assert ids
        assert special.keys().isdisjoint(ids), text


def test_a_spelt_special_token_of_the_embedded_model_is_text() -> None:
    tokenizer = load_tokenizer(checkpoint.find("embedded").path)
    ids = tokenizer.encode("[CLS] a [SEP] b [PAD] [MASK]", add_special_tokens=False)
    assert not set(ids) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("kind", SAVE_TOKENIZER)
def test_special_tokens_that_belong_there_are_still_set(kind: str, tmp_path: Path) -> None:
    SAVE_TOKENIZER[kind](tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer("the", "text").input_ids
    assert len(ids) - len(tokenizer("the", "text", add_special_tokens=False).input_ids) >= 2
    assert tokenizer.decode(ids, skip_special_tokens=True).split() in (["the", "text"], ["thetext"])


def test_fixed_padding_and_truncation_of_the_file_are_reset(tmp_path: Path) -> None:
    seeded.save_bert_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert len(tokenizer("the").input_ids) == 3
    assert len(tokenizer("the " * 40).input_ids) == 42
    assert len(tokenizer.backend_tokenizer.encode("the " * 40).ids) == 42


def test_a_special_token_that_no_cut_can_make_harmless_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "|": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?", eos_token="|").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="into a special token"):
        load_tokenizer(tmp_path)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path)


def test_a_model_is_loaded_for_inference_in_the_asked_precision(tmp_path: Path) -> None:
    model = load_model(AutoModel, seeded.save_bert_encoder(tmp_path), "cpu", torch.float64)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_a_model_whose_head_would_be_random_is_refused(tmp_path: Path) -> None:
    seeded.save_bert_encoder(tmp_path)
    with pytest.raises(ConfigError, match=r"lack classifier\.bias"):
        load_model(AutoModelForSequenceClassification, tmp_path, "cpu")


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    model = load_model(AutoModel, seeded.save_bert_encoder(tmp_path), "cpu")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="no AutoModel can be loaded"):
        load_model(AutoModel, tmp_path, "cpu")


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        pytest.param(
            BartForConditionalGeneration,
            BartConfig(
                vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
            ),
            id="bart",
        ),
        pytest.param(
            T5ForConditionalGeneration,
            T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2),
            id="t5",
        ),
    ],
)  # fmt: skip
def test_tied_weights_are_not_missed(model_class: type, config: object, tmp_path: Path) -> None:
    model_class(config).save_pretrained(tmp_path)
    assert load_model(AutoModelForSeq2SeqLM, tmp_path, "cpu").config.vocab_size == 64
