"""What the generator is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from chassis.config import Address, Dtype, ModelConfig


@dataclass(frozen=True)
class GeneratorConfig(ModelConfig):
    """Every setting of the generator."""

    listen_address: Address = "127.0.0.1:7004"
    metrics_address: Address = "127.0.0.1:7104"
    health_address: Address = "127.0.0.1:7204"

    engine: Literal["extractive", "seq2seq", "ctranslate2", "causal", "rag-sequence", "rag-token"] = "extractive"
    """`extractive` quotes sentences of the passages and needs a sentence model (`embedded` is one); `seq2seq`
    writes with an encoder-decoder (BART, T5 and kin); `ctranslate2` with BART, T5 or mT5 by CTranslate2, in whole
    batches, and needs the extra `generator-ctranslate2`, which no image has; `causal` with a decoder-only model
    (Llama, Qwen, GPT-2 and kin); `rag-sequence` and `rag-token` with a RAG checkpoint, whose question encoder the
    retriever takes from the same one."""

    prompt_template: str | None = None
    """What the model is told beside question and passages: the name of a template that is built in (`cite-sources-1`,
    `question-context-1`) or the path of a file. By default `question-context-1` for `seq2seq` and `ctranslate2`, and
    `cite-sources-1` for `causal`; the engines `extractive`, `rag-sequence` and `rag-token` take none."""

    num_beams: Annotated[int, Field(ge=1, le=16)] = 4
    """Beams that `rag-sequence` and `rag-token` search with. 1 is greedy. Memory and time grow with it."""

    max_batch_tokens: Annotated[int, Field(ge=1)] = 8_192
    """Padded tokens of prompts that `rag-sequence`, `rag-token` and `ctranslate2` read in one batch. Device memory
    grows with it, times the beams."""

    dtype: Dtype = "auto"
    """What `seq2seq` and `causal` compute in: `float32`, `bfloat16`, or `auto`, which is bfloat16 where the CPU (flags
    `avx512_bf16`, `amx_bf16`) or the GPU multiplies it natively, else float32. In bfloat16 a CPU reads prompts about
    twice and writes 1.3 to 1.6 times as fast, and now and then takes another of two tokens that are nearly as likely.
    Scores are float32 all the same. `ctranslate2` has `compute_type`; the other engines compute in float32."""

    compute_type: Literal["int8", "float32"] = "int8"
    """What `ctranslate2` multiplies in. `int8` writes about twice as fast on a CPU and takes a quarter of the memory,
    and changes answers: the model's weights are rounded."""

    max_prompt_tokens: Annotated[int, Field(ge=64)] = 2_048
    """Tokens that question and passages may take together, control tokens included. Passages beyond it are
    dropped. Never more than the model has positions; with `causal` the answer needs positions too, and half are kept
    for each unless the other needs fewer. Latency grows with it."""

    max_output_tokens: Annotated[int, Field(ge=1, le=4_096)] = 4_096
    """The most output tokens that a request may ask for. Never more than the model has positions (with `causal`: left
    beside the prompt)."""

    max_passages: Annotated[int, Field(ge=1, le=100)] = 100
    """The most passages in one request."""

    max_rows: Annotated[int, Field(ge=1, le=1_024)] = 8
    """Answers that `seq2seq` and `causal` write at once, a token of each at every step. More serve more requests and
    make each step take longer. A model whose positions are not known writes one at a time."""

    max_cache_tokens: Annotated[int, Field(ge=64)] | None = None
    """Tokens that the prompts of these answers and the answers themselves may take in the cache, each as long as
    the longest may become. An answer for which there is no room waits for others to end, and a request that could
    never have room is refused. By default what the memory holds that is free once the model is loaded, and no more
    than `max_rows` of the largest requests take. A token takes 2 × layers × width values, twice while rows join."""

    max_prefill_tokens: Annotated[int, Field(ge=1)] = 2_048
    """Tokens of the prompts that are read in one step, padding included, or one prompt. The answers on their way
    wait that long for their next token."""
