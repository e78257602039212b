"""Loads tokenizers and models from a checkpoint's directory, the one way that is safe. Imports torch."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from chassis import precision
from chassis.config import ConfigError, Dtype
from chassis.device import num_threads

# What transformers has to say goes through the process's own log, and no progress bar beside it.
transformers_logging.disable_progress_bar()
transformers_logging.disable_default_handler()
transformers_logging.enable_propagation()


def load_tokenizer(path: Path, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """The fast tokenizer in a directory, to which a special token that a text spells is nothing but text.

    `config` is the model's where the directory does not say of which kind the tokenizer is.
    Truncation and fixed padding that its file carries are reset: it pads and cuts when it is told to.

    Raises ConfigError: no fast tokenizer there, or one with a special token that text could become.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, config=config, local_files_only=True, trust_remote_code=False, split_special_tokens=True
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"no tokenizer can be loaded from {path}: {error}") from error
    if not tokenizer.is_fast:
        raise ConfigError(f"the tokenizer at {path} is not a fast one (tokenizer.json)")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    _split_spelt_tokens(backend)
    _require_harmless(path, tokenizer)
    return tokenizer


def load_model(auto_class: Any, path: Path, device: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model in a directory, in `dtype` on `device` (`cpu`, `cuda:N`), ready for inference.

    `auto_class` is one of transformers' (`AutoModelForSeq2SeqLM`). Only safetensors load, and no code of theirs.
    torch is told how many CPUs this container has; left alone it counts the node's.

    Raises ConfigError: nothing loads, or the files lack weights that such a model has (transformers would fill
    them with random numbers).
    """
    torch.set_num_threads(num_threads())
    try:
        model, report = auto_class.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no {auto_class.__name__} can be loaded from {path}: {error}") from error
    if missing := sorted(key for key in report["missing_keys"] if _is_needed(auto_class, key)):
        raise ConfigError(f"the weights at {path} lack {missing[0]}: not a model for {auto_class.__name__}")
    return model.to(device).eval()


def load_encoder(auto_class: Any, path: Path, device: str, dtype: Dtype) -> tuple[PreTrainedModel, bool]:
    """Such a model, made fast for reading whole texts, and whether it still computes the padding of its batches.
    What it returns is float32, whatever it computes in.

    Raises ConfigError, as `load_model` does.
    """
    model = load_model(auto_class, path, device)
    return model, quicken(model, device, dtype)


def quicken(model: PreTrainedModel, device: str, dtype: Dtype, called: torch.nn.Module | None = None) -> bool:
    """Let a float32 model on `device` compute in `dtype`; on a CPU, without padding and by faster libraries.

    `called` is the module that is called for its outputs where that is another one around the model. Returns whether
    the padding of batches is still computed.
    Outputs change by rounding: in float32 by less than 1e-5; in bfloat16 vectors keep a cosine of 0.9998, most 0.9999.
    """
    chosen = precision.resolve(dtype, device)
    precision.compute_in(chosen, model, called or model)
    if device != "cpu":
        return True
    from chassis import linear, packing  # ONNX Runtime: not for processes that read no whole texts

    if packing.pack(model):
        return False
    if chosen == torch.float32:  # bfloat16 goes through oneDNN by itself
        linear.relay(model)
    return True


def quicken_steps(model: PreTrainedModel, device: str) -> None:
    """Let a model on `device` that writes a token of each row at a time do so by faster ways, if it is on a CPU.

    Its outputs change by rounding; in float64 it keeps the precision of float64.
    """
    if device == "cpu":
        from chassis import attention, linear

        attention.attend_by_products(model)
        linear.relay(model)


def _is_needed(auto_class: Any, key: str) -> bool:
    # Whoever loads a bare encoder reads its token vectors; many checkpoints come without the pooler on top.
    return not (auto_class is AutoModel and key.startswith("pooler."))


def _split_spelt_tokens(backend: Tokenizer) -> None:
    """Cut every spelt special token after its first character, before the model sees it.

    `split_special_tokens` alone keeps the tokenizer from looking for them; a unigram model, or a word that is in
    the vocabulary as a whole, would still find them there.
    """
    tails_by_head: dict[str, list[str]] = defaultdict(list)
    for token in backend.get_added_tokens_decoder().values():
        if token.special and len(token.content) > 1:
            tails_by_head[token.content[0]].append(re.escape(token.content[1:]))
    if not tails_by_head:
        return
    pattern = "|".join(f"{re.escape(head)}(?={'|'.join(tails)})" for head, tails in tails_by_head.items())
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    first = [backend.pre_tokenizer] if backend.pre_tokenizer else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*first, cut])


def _require_harmless(path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    special = {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and token.content != tokenizer.unk_token
    }
    for text in special.values():
        if not special.keys().isdisjoint(tokenizer.encode(text, add_special_tokens=False)):
            raise ConfigError(f"the tokenizer at {path} turns the text {text!r} into a special token")
