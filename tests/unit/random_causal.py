"""Random decoder-only models of every family whose answers are written together, without files and tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModelForCausalLM

from services.generator.rows.positions import EACH
from tests.unit.random_vocabulary import END, MAX_POSITIONS, PAD, START, VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = {
    "vocab_size": VOCABULARY,
    "pad_token_id": PAD,
    "eos_token_id": END,
    "bos_token_id": START,
    "initializer_range": 1.0,
}
LIKE_LLAMA = TOKENS | {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": MAX_POSITIONS,
}
LIKE_GPT2 = TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": MAX_POSITIONS}

WINDOW = 7
"""Shorter than most prompts."""
SLIDING = {"sliding_window": WINDOW}
SLIDING_BELOW = SLIDING | {"layer_types": ["sliding_attention", "full_attention"]}
SLIDING_ABOVE = SLIDING | {"use_sliding_window": True, "max_window_layers": 1}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24}

OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("mistral", "ministral", "starcoder2", "phi3", "gemma2"), SLIDING),
    **dict.fromkeys(("gemma3_text", "cohere2", "olmo3", "exaone4"), SLIDING_BELOW),
    **dict.fromkeys(("qwen2", "qwen3"), SLIDING_ABOVE),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "olmoe"), EXPERTS | {"num_experts": 4}),
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": SLIDING_BELOW | {"num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": None},
    "ministral3": {"rope_parameters": None},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16, "init_std": 1.0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "num_layers": 2, "num_heads": 2},
    "gptj": {"rotary_dim": 4},
}
"""What families have beside that."""


def _make(family: str) -> PreTrainedModel:
    like = LIKE_GPT2 if family in ("gpt2", "gpt_bigcode", "gptj") else LIKE_LLAMA
    config = AutoConfig.for_model(family, **like | OWN.get(family, {}))
    # The fast products of experts' matrices know no float64.
    options = {"experts_implementation": "eager"} if hasattr(config, "num_experts_per_tok") else {}
    return AutoModelForCausalLM.from_config(config, **options)


MAKE: dict[str, Callable[[], PreTrainedModel]] = {family: partial(_make, family) for family in sorted(EACH)}
