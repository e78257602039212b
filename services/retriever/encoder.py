"""Turns questions and passages into vectors: sentence-transformers models, and DPR's two towers.

Each encoder is a model in the batcher's sense (cost, prepare, run). A process needs one side of a model only:
the retriever encodes questions, the indexer passages. Vectors are float32. Imports torch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers import DPRContextEncoder, DPRQuestionEncoder, PreTrainedModel, PreTrainedTokenizerBase

from chassis.checkpoint import Checkpoint
from chassis.config import ConfigError, Dtype
from chassis.device import num_threads
from chassis.pretrained import load_encoder, load_tokenizer, quicken
from chassis.tokens import estimate_tokens
from services.retriever import rag_question_encoder
from services.retriever.fingerprint import Fingerprint
from services.retriever.passage import PASSAGE_FORMAT, indexed_text
from services.retriever.rag_question_encoder import RagQuestionEncoder

Kind = Literal["sentence", "dpr"]
Side = Literal["question", "passage"]


@dataclass(frozen=True)
class Text:
    """What is encoded: a question, or a passage with the line of its title and headings."""

    text: str
    heading: str = ""


@dataclass(frozen=True)
class Encoded:
    """A vector of shape (dimension,), float32, and how many tokens made it."""

    vector: NDArray[np.float32]
    num_tokens: int
    truncated_tokens: int


@dataclass(frozen=True)
class Batch:
    """Tokenised texts. `features` are the model's inputs, on the CPU still."""

    features: Mapping[str, Any]
    token_counts: Sequence[int]
    truncated_counts: Sequence[int]
    num_padded_tokens: int

    @property
    def num_tokens(self) -> int:
        return sum(self.token_counts)


class Encoder(Protocol):
    """One side of an encoder."""

    checkpoint: Checkpoint
    fingerprint: Fingerprint
    """Equal on both sides."""
    dimension: int
    max_text_tokens: int
    """Tokens of a text that are read: what special tokens and the prompt leave."""
    pads: bool

    def token_ends(self) -> Callable[[str], Sequence[int]]:
        """Says where each token of a text ends, in characters, special ones excluded. For one thread."""
        ...

    def cost(self, item: Text) -> int: ...
    def prepare(self, items: Sequence[Text]) -> Batch: ...
    def run(self, batch: Batch) -> list[Encoded]: ...


def load(
    kind: Kind, side: Side, question: Checkpoint, passage: Checkpoint, device: str, dtype: Dtype = "float32"
) -> Encoder:
    """One side of the encoder, on a device (`cpu`, `cuda:N`). A sentence encoder has one checkpoint for both.

    `dtype` is what it computes in, and no part of the fingerprint (docs/decisions/0012).

    Raises ConfigError when the files are not such a model. Blocks.
    """
    torch.set_num_threads(num_threads())
    if kind == "sentence":
        return SentenceEncoder(question, side, device, dtype)
    return DprEncoder(question, passage, side, device, dtype)


class SentenceEncoder:
    """Any sentence-transformers layout: pooling, prompts and normalisation are as its files say."""

    def __init__(self, checkpoint: Checkpoint, side: Side, device: str, dtype: Dtype) -> None:
        self.checkpoint = checkpoint
        self._model = _load_sentence_transformer(checkpoint.path, device)
        self.pads = quicken(self._model[0].auto_model, device, dtype, self._model[0])
        self._task = {"question": "query", "passage": "document"}[side]
        self._prompt = _prompt(self._model, side)
        self.max_tokens = int(self._model.max_seq_length)
        self.max_text_tokens = self.max_tokens - self._count("")
        self.dimension = int(self._model.get_embedding_dimension())
        self.fingerprint = self._fingerprint()

    def token_ends(self) -> Callable[[str], Sequence[int]]:
        return _token_ends(self._model.tokenizer)

    def cost(self, item: Text) -> int:
        return min(self.max_tokens, estimate_tokens(self._prompt + indexed_text(item.heading, item.text)))

    def prepare(self, items: Sequence[Text]) -> Batch:
        texts = [indexed_text(item.heading, item.text) for item in items]
        features = self._model.preprocess(texts, prompt=self._prompt or None, task=self._task)
        return _batch(features, self.max_tokens, lambda row: self._count(texts[row]))

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[Encoded]:
        features = _to_device(batch.features, self._model.device)
        return _encoded(self._model(features, task=self._task)["sentence_embedding"], batch)

    def _count(self, text: str) -> int:
        return len(self._model.tokenizer(self._prompt + text, truncation=False, verbose=False)["input_ids"])

    def _fingerprint(self) -> Fingerprint:
        modules = ((type(module).__name__, module) for module in self._model)
        return {
            "kind": "sentence",
            "weights": self.checkpoint.sha256,
            "modules": "; ".join(_describe(name, module) for name, module in modules),
            "question_prompt": _prompt(self._model, "question"),
            "passage_prompt": _prompt(self._model, "passage"),
            "max_tokens": str(self.max_tokens),
            "dimension": str(self.dimension),
            "passage_format": PASSAGE_FORMAT,
        }


class DprEncoder:
    """Dense passage retrieval (Karpukhin et al., 2020): two towers, compared by inner product.

    A passage is read as its heading line and its text, two segments, as transformers' RAG index does. The question's
    tower may be that of a RAG checkpoint.
    """

    def __init__(self, question: Checkpoint, passage: Checkpoint, side: Side, device: str, dtype: Dtype) -> None:
        self.checkpoint = question if side == "question" else passage
        self._reads_pairs = side == "passage"
        self._device = device
        self._model: Any
        self._model, self._tokenizer, self.pads = _load_tower(self.checkpoint.path, side, device, dtype)
        config = self._model.config
        self.max_tokens: int = min(int(config.max_position_embeddings), self._tokenizer.model_max_length)
        self.max_text_tokens = self.max_tokens - self._count(Text(""))
        self.dimension = int(config.projection_dim or config.hidden_size)
        self.fingerprint: Fingerprint = {
            "kind": "dpr",
            "question_weights": question.sha256,
            "passage_weights": passage.sha256,
            "modules": "pooler output",
            "max_tokens": str(self.max_tokens),
            "dimension": str(self.dimension),
            "passage_format": PASSAGE_FORMAT,
        }

    def token_ends(self) -> Callable[[str], Sequence[int]]:
        return _token_ends(self._tokenizer)

    def cost(self, item: Text) -> int:
        return min(self.max_tokens, estimate_tokens(indexed_text(item.heading, item.text)))

    def prepare(self, items: Sequence[Text]) -> Batch:
        features = self._tokenizer(
            *self._segments(items),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        return _batch(features, self.max_tokens, lambda row: self._count(items[row]))

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[Encoded]:
        return _encoded(self._model(**_to_device(batch.features, self._device)).pooler_output, batch)

    def _segments(self, items: Sequence[Text]) -> list[list[str]]:
        texts = [item.text for item in items]
        return [[item.heading for item in items], texts] if self._reads_pairs else [texts]

    def _count(self, item: Text) -> int:
        return len(self._tokenizer(*self._segments([item]), truncation=False, verbose=False)["input_ids"][0])


def _load_tower(
    path: Path, side: Side, device: str, dtype: Dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, bool]:
    """A tower, its tokenizer, and whether it computes the padding of its batches."""
    if side == "question" and (config := rag_question_encoder.config_in(path)):
        model, pads = load_encoder(RagQuestionEncoder, path, device, dtype)
        return model, load_tokenizer(path / "question_encoder_tokenizer", config), pads
    model, pads = load_encoder(DPRQuestionEncoder if side == "question" else DPRContextEncoder, path, device, dtype)
    return model, load_tokenizer(path), pads


def _token_ends(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Sequence[int]]:
    own = copy.deepcopy(tokenizer)  # truncation is a state of the tokenizer: two threads cannot share one

    def token_ends(text: str) -> list[int]:
        tokens = own(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [end for _, end in tokens["offset_mapping"]]

    return token_ends


def _load_sentence_transformer(path: Path, device: str) -> SentenceTransformer:
    try:
        model = SentenceTransformer(
            str(path),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(f"no sentence encoder can be loaded from {path}: {error}") from error
    model[0].processor = _harmless(model.tokenizer, path)
    return model.eval()


def _harmless(tokenizer: PreTrainedTokenizerBase, path: Path) -> PreTrainedTokenizerBase:
    """Such a tokenizer to which a special token that a text spells is nothing but text."""
    modules = path / "modules.json"
    folder = json.loads(modules.read_text(encoding="utf-8"))[0]["path"] if modules.is_file() else ""
    ours = load_tokenizer(path / folder)
    ours.model_max_length = tokenizer.model_max_length
    ours.backend_tokenizer.normalizer = tokenizer.backend_tokenizer.normalizer  # the layout may lower the case
    return ours


def _prompt(model: SentenceTransformer, side: Side) -> str:
    """As sentence-transformers' `encode_query` and `encode_document` choose it."""
    names = ("query",) if side == "question" else ("document", "passage", "corpus")
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return (model.prompts.get(name) if name else None) or ""


def _describe(name: str, module: Any) -> str:
    if name == "Transformer":
        return f"{name}({type(module.auto_model).__name__})"
    settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
    return f"{name}({', '.join(f'{key}={settings[key]}' for key in sorted(settings))})"


def _batch(features: Mapping[str, Any], max_tokens: int, count: Callable[[int], int]) -> Batch:
    """`count` gives a row's tokens had it not been cut. Only rows that are full are counted."""
    mask = features["attention_mask"]
    counts = mask.sum(dim=1).tolist()
    cut = [count(row) - full if full >= max_tokens else 0 for row, full in enumerate(counts)]
    return Batch(features, counts, cut, mask.numel())


def _to_device(features: Mapping[str, Any], device: Any) -> dict[str, Any]:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in features.items()
    }


def _encoded(vectors: torch.Tensor, batch: Batch) -> list[Encoded]:
    rows = vectors.float().cpu().numpy()
    return [
        Encoded(row, tokens, cut)
        for row, tokens, cut in zip(rows, batch.token_counts, batch.truncated_counts, strict=True)
    ]
