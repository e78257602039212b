"""A checkpoint of transformers in CTranslate2's form. Imports torch."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForSeq2SeqLM

from chassis import pretrained
from chassis.config import ConfigError
from chassis.device import num_threads
from services.generator.engines import bounds
from services.generator.rows.rules import greedy

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

MODEL_TYPES = ("bart", "mt5", "t5")
"""Those of which tests show that CTranslate2 writes what transformers does."""

HEEDED = frozenset(
    {
        *("eos_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"),
        *("min_length", "min_new_tokens", "no_repeat_ngram_size", "suppress_tokens"),
        *("bos_token_id", "pad_token_id", "use_cache", "_from_model_config", "transformers_version"),
    }
)
"""Settings of a checkpoint that are obeyed, and those that say nothing of what is written."""

NEUTRAL = {"repetition_penalty": 1, "encoder_repetition_penalty": 1, "guidance_scale": 1}
"""What other settings may be. Those not named: nothing."""


@dataclass(frozen=True)
class Converted:
    """A model that CTranslate2 has loaded, and what transformers knew of it."""

    translator: Any
    settings: GenerationConfig
    num_positions: float
    words: list[str]
    """By id: CTranslate2 takes and gives tokens by name."""


def convert(path: Path, device: str, compute_type: str, tokenizer: PreTrainedTokenizerBase) -> Converted:
    """The model in a directory on `device` (`cpu`, `cuda:N`). While it loads it takes its size in float32 besides,
    and in the temporary directory its size in `compute_type`.

    Raises ConfigError: CTranslate2 is not installed, cannot take the model, or would not obey its settings.
    """
    ctranslate2 = _installed()
    model = pretrained.load_model(AutoModelForSeq2SeqLM, path, "cpu")
    if model.config.model_type not in MODEL_TYPES:
        raise ConfigError(f"the model at {path} is a {model.config.model_type}: the engine has {_list(MODEL_TYPES)}")
    require_heeded(model.generation_config)
    _complete(model)
    try:
        translator = _translator(ctranslate2, model, path, device, compute_type, tokenizer)
    except Exception as error:  # its converter raises what it likes
        raise ConfigError(f"CTranslate2 cannot take the model at {path}: {error}") from error
    return Converted(
        translator,
        model.generation_config,
        bounds.num_positions(model.config),
        _words(tokenizer),
    )


def require_heeded(settings: GenerationConfig) -> None:
    """Raises ConfigError, naming the settings that would not be obeyed: the answers would be others."""
    told = greedy(settings).to_diff_dict()
    ignored = [name for name, value in told.items() if name not in HEEDED and value and value != NEUTRAL.get(name)]
    if told.get("no_repeat_ngram_size") == 1:  # transformers counts the start token, which may be the end's
        ignored.append("no_repeat_ngram_size")
    if settings.eos_token_id is None:
        ignored.append("eos_token_id")
    if ignored:
        raise ConfigError(
            f"the engine ctranslate2 does not obey what the checkpoint's generation settings say of {_list(ignored)};"
            " choose seq2seq"
        )


def _words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """By id. Raises ConfigError: an id is left out, and the converter, which counts names, would shift the rest."""
    number_by_word = tokenizer.get_vocab()
    words = sorted(number_by_word, key=number_by_word.__getitem__)
    if number_by_word[words[-1]] != len(words) - 1:
        raise ConfigError("the tokenizer's ids are not all used: CTranslate2 cannot number its tokens")
    return words


def _installed() -> Any:
    try:
        import ctranslate2
        import ctranslate2.converters
    except ImportError as error:
        raise ConfigError(
            "the engine ctranslate2 needs the extra generator-ctranslate2"
            f" (requirements/generator-ctranslate2.txt): {error}"
        ) from error
    return ctranslate2


def _complete(model: PreTrainedModel) -> None:
    """What the converter reads of the configuration and transformers' own modelling does not, or reads elsewhere."""
    config, settings = model.config, model.generation_config
    start = settings.decoder_start_token_id
    config.decoder_start_token_id = settings.bos_token_id if start is None else start
    if config.model_type == "bart":
        config.normalize_before, config.normalize_embedding = False, True
    else:  # to the converter: whether states are scaled before the vocabulary
        config.tie_word_embeddings = getattr(config, "scale_decoder_outputs", False)


def _translator(
    ctranslate2: Any,
    model: PreTrainedModel,
    path: Path,
    device: str,
    compute_type: str,
    tokenizer: PreTrainedTokenizerBase,
) -> Any:
    converter = ctranslate2.converters.TransformersConverter(str(path))
    # In place of its own loading, which would take weights that are not safetensors.
    converter.load_model = lambda *_, **__: model
    converter.load_tokenizer = lambda *_, **__: tokenizer
    kind, _, number = device.partition(":")
    with tempfile.TemporaryDirectory(prefix="ctranslate2-") as folder:
        converted = converter.convert(f"{folder}/model", quantization=compute_type)
        return ctranslate2.Translator(
            converted,
            device=kind,
            device_index=int(number or 0),
            compute_type=compute_type,
            inter_threads=1,
            intra_threads=num_threads(),
        )


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
