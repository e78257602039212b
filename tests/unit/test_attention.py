"""Attention of one token to those before it equals that of transformers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from chassis.attention import ONE_QUERY
from chassis.linear import RelaidLinear
from chassis.pretrained import quicken_steps

VOCABULARY = 60
LENGTHS = (9, 4, 1)


def bart() -> PreTrainedModel:
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    return BartForConditionalGeneration(BartConfig(vocab_size=VOCABULARY, d_model=32, init_std=0.5, **layers, **heads))


def t5() -> PreTrainedModel:
    return T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    )


def llama() -> PreTrainedModel:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, initializer_range=0.5, **sizes, **heads))


def next_scores(model: Any) -> torch.Tensor:
    """Of the token after one that was read by itself, for rows of which the shorter are padded."""
    token_ids = torch.randint(5, VOCABULARY, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(max(LENGTHS)) >= max(LENGTHS) - torch.tensor(LENGTHS)[:, None]).long()
    read: dict[str, Any] = {"input_ids": token_ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        read |= {"decoder_input_ids": token_ids, "decoder_attention_mask": mask}
    with torch.inference_mode():
        cache = model(**read, use_cache=True).past_key_values
        name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
        masks: dict[str, Any] = {
            key: torch.nn.functional.pad(one, (0, 1), value=1) for key, one in read.items() if "mask" in key
        }
        if model.config.is_encoder_decoder:
            masks["attention_mask"], masks["encoder_outputs"] = mask, (torch.zeros(*mask.shape, 32, dtype=model.dtype),)
        scores: torch.Tensor = model(**{name: token_ids[:, -1:]}, **masks, past_key_values=cache, use_cache=True).logits
    return scores


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("make", [bart, t5, llama])
def test_a_step_scores_as_it_did_before_it_was_quick(make: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    stock = make().to(dtype).eval()
    quick = copy.deepcopy(stock)
    quicken_steps(quick, "cpu")
    assert quick.config._attn_implementation == ONE_QUERY
    given, expected = next_scores(quick), next_scores(stock)
    assert expected.std() > 0.1
    torch.testing.assert_close(given, expected, atol=1e-12 if dtype == torch.float64 else 1e-4, rtol=0)


def test_a_model_in_float64_keeps_its_layers() -> None:
    model = t5().double()
    quicken_steps(model, "cpu")
    assert not any(isinstance(module, RelaidLinear) for module in model.modules())


def test_a_head_without_bias_is_relaid_beside_the_embedding_that_it_is_tied_to() -> None:
    model: Any = t5()
    quicken_steps(model, "cpu")
    assert isinstance(model.lm_head, RelaidLinear)
    assert model.lm_head.weight is model.shared.weight


def test_who_asked_for_another_attention_keeps_it() -> None:
    model = t5()
    model.set_attn_implementation("eager")
    quicken_steps(model, "cpu")
    assert model.config._attn_implementation == "eager"
