"""Which token of its answer a row has come to, where rows of one batch began at different steps. Imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RELATIVE = frozenset({"t5", "mt5", "umt5"})
"""Model types whose decoders see only differences of positions: rows that end in the same column need no more."""

ABSOLUTE = frozenset({"bart", "mbart", "plbart", "mvp", "pegasus", "marian", "blenderbot", "blenderbot-small"})
"""Those that add an embedding of the position, one for all rows, from the length of the cache."""


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
    def at(self, positions: Sequence[int], num_tokens: int = 1) -> Iterator[None]:
        """One pass of `num_tokens` a row, of which the last stands at its row's position. What is padding on the
        left stands anywhere."""
        device = self.embedding.weight.device
        lasts = torch.tensor(positions, device=device)[:, None]
        self.by_row = (lasts + torch.arange(1 - num_tokens, 1, device=device)).clamp(min=0)
        try:
            yield
        finally:
            self.by_row = None


class Differences:
    """What rows need where only differences of positions count: nothing."""

    @contextlib.contextmanager
    def at(self, positions: Sequence[int], num_tokens: int = 1) -> Iterator[None]:
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
