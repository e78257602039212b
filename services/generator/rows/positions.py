"""Which token of its answer a row has come to, where rows of one batch began at different steps. Imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RELATIVE = frozenset({"t5", "mt5", "umt5"})
"""Model types whose decoders see only differences of positions: rows that end in the same column need no more."""

ABSOLUTE = frozenset({"bart", "mbart", "plbart", "mvp", "pegasus", "marian", "blenderbot", "blenderbot-small"})
"""Those that add an embedding of the position, one for all rows, from the length of the cache."""

# fmt: off
EACH = frozenset({
    "llama", "mistral", "ministral", "ministral3", "mixtral", "arcee", "smollm3", "granite", "seed_oss", "ernie4_5",
    "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt_oss", "olmo",
    "olmo2", "olmo3", "olmoe", "glm", "glm4", "cohere", "cohere2", "exaone4", "helium", "nemotron", "gpt2",
    "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "opt", "stablelm", "starcoder2", "persimmon", "biogpt",
})
# fmt: on
"""Decoder-only model types that are told the position of each token, and keep nothing but keys and values."""

OF_THE_LONGEST = frozenset({"dynamic", "longrope"})
"""Kinds of rotary embeddings that turn every row by what the longest row of the batch needs."""


class UnknownPositions(Exception):
    """How the model counts positions is not known, or not by rows."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no known positions: {what}")


class Positions(torch.nn.Module):
    """A decoder's embedding of positions, which may be told one for each row."""

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.embedding = embedding
        self.by_row: torch.Tensor | None = None
        """Shape (rows, tokens), int64. None: those that the decoder counts."""

    def forward(self, read: Any, num_cached: int = 0, position_ids: torch.Tensor | None = None) -> torch.Tensor:
        """As the embedding's own; by row, shape (rows, tokens, dimension)."""
        if self.by_row is None:
            return self.embedding(read, num_cached, position_ids=position_ids)  # type: ignore[no-any-return]
        embedded: torch.Tensor = self.embedding(read, num_cached, position_ids=self.by_row)
        return embedded.view(*self.by_row.shape, -1)

    @contextlib.contextmanager
    def at(self, positions: torch.Tensor) -> Iterator[None]:
        """One pass of tokens that stand at these positions, shape (rows, tokens), int64. Padding stands anywhere."""
        self.by_row = positions
        try:
            yield
        finally:
            self.by_row = None


class Differences:
    """What rows need where only differences of positions count: nothing."""

    @contextlib.contextmanager
    def at(self, positions: torch.Tensor) -> Iterator[None]:
        yield


def positions_of(model: PreTrainedModel) -> Positions | Differences | None:
    """How to tell `model` where each row is. None where its way of counting is not known."""
    if model.config.model_type in RELATIVE:
        return Differences()
    if model.config.model_type not in ABSOLUTE:
        return None
    decoder = model.get_decoder()
    if not isinstance(decoder.embed_positions, Positions):
        decoder.embed_positions = Positions(decoder.embed_positions)
    return decoder.embed_positions


def require_positions_of_each(model: PreTrainedModel) -> None:
    """Raises UnknownPositions where a decoder-only model cannot be told the position of each row's tokens."""
    if model.config.model_type not in EACH:
        raise UnknownPositions(model.config.model_type)
    for kind in _rotary_kinds(model):
        if kind in OF_THE_LONGEST:
            raise UnknownPositions(f"{model.config.model_type} with {kind} rotary embeddings")


def _rotary_kinds(model: PreTrainedModel) -> Iterator[str]:
    """Of all layers, or of layers of each kind."""
    rotary = getattr(model.config, "rope_parameters", None) or {}
    for parameters in (rotary, *rotary.values()):
        if isinstance(parameters, dict):
            yield parameters.get("rope_type", "default")
