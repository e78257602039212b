"""What a decoder keeps of several rows: keys and values, in the caches of transformers. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache


class Memory:
    """The caches of some rows, of tensors of shape (rows, heads, columns, dimension of a head).

    Tokens are right-aligned: all rows have their newest in the last column, and what lies left of a row's first is
    masked. Prompts are left-aligned, and what lies right of a row's last token is masked. No column is masked in
    every row.
    """

    def __init__(self, prompt_lengths: Sequence[int], device: torch.device) -> None:
        """Nothing is cached yet: the decoder fills in both at its first pass."""
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.lengths = [0] * len(prompt_lengths)
        """Tokens in the cache, by row."""
        self.prompt_lengths = list(prompt_lengths)
        columns = torch.arange(max(prompt_lengths), device=device)
        self.prompt_mask = (columns < torch.tensor(prompt_lengths, device=device)[:, None]).long()
        """1 where there is a prompt, shape (rows, columns), int64."""

    def __len__(self) -> int:
        return len(self.lengths)

    def mask(self) -> torch.Tensor:
        """1 where there is a token, shape (rows, columns + 1), int64, with a column for the next token."""
        width = max(self.lengths) + 1
        columns = torch.arange(width, device=self.prompt_mask.device)
        starts = torch.tensor([width - 1 - length for length in self.lengths], device=columns.device)
        return (columns >= starts[:, None]).long()

    def grow(self) -> None:
        """Every row has got its next token."""
        self.lengths = [length + 1 for length in self.lengths]

    def rewind(self) -> None:
        """Undo a pass that failed midway, when some layers had the next token."""
        width = max(self.lengths)
        for layer in self.cache.self_attention_cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :width], layer.values[:, :, :width]


def gather(parts: Sequence[tuple[Memory, Sequence[int]]]) -> Memory:
    """These rows of these memories as one. Each key and value is copied at most twice, or not at all where a memory
    stays as it is. At least one row."""
    if len(parts) == 1 and len(parts[0][1]) == len(parts[0][0]):
        return parts[0][0]
    memories = [memory for memory, _ in parts]
    gathered = Memory(
        [memory.prompt_lengths[row] for memory, rows in parts for row in rows], memories[0].prompt_mask.device
    )
    gathered.lengths = [memory.lengths[row] for memory, rows in parts for row in rows]
    rows = [_index(memory, rows) for memory, rows in parts]
    of_tokens = Layers(rows, max(gathered.lengths), right_aligned=True)
    of_prompts = Layers(rows, max(gathered.prompt_lengths), right_aligned=False)
    gathered.cache = EncoderDecoderCache(
        of_tokens.gather([memory.cache.self_attention_cache for memory in memories]),
        of_prompts.gather([memory.cache.cross_attention_cache for memory in memories]),
    )
    return gathered


def _index(memory: Memory, rows: Sequence[int]) -> torch.Tensor | slice:
    if len(rows) == len(memory):
        return slice(None)
    return torch.tensor(list(rows), device=memory.prompt_mask.device)


class Layers:
    """Which rows of caches to take, and how many columns of each the result has."""

    def __init__(self, rows: Sequence[torch.Tensor | slice], width: int, right_aligned: bool) -> None:
        self._rows = rows
        self._width = width
        self._right_aligned = right_aligned

    def gather(self, caches: Sequence[Any]) -> Any:
        gathered = DynamicCache()
        for layers in zip(*(cache.layers for cache in caches), strict=True):
            layer = type(layers[0])()
            layer.lazy_initialization(layers[0].keys, layers[0].values)
            layer.keys = self._stack([layer.keys for layer in layers])
            layer.values = self._stack([layer.values for layer in layers])
            gathered.layers.append(layer)
        return gathered

    def _stack(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        parts = [tensor[rows, :, self._columns(tensor)] for tensor, rows in zip(tensors, self._rows, strict=True)]
        num_rows, (_, num_heads, _, dimension) = sum(map(len, parts)), parts[0].shape
        # Zeros, not whatever was there: a masked value counts nothing, but nothing times infinity is not a number.
        stacked = tensors[0].new_zeros(num_rows, num_heads, self._width, dimension)
        first = 0
        for part in parts:
            place = stacked[first : first + len(part)]
            self._cut(place, part.shape[2]).copy_(part)
            first += len(part)
        return stacked

    def _columns(self, tensor: torch.Tensor) -> slice:
        dead = max(0, tensor.shape[2] - self._width)
        return slice(dead, None) if self._right_aligned else slice(0, self._width)

    def _cut(self, place: torch.Tensor, num_columns: int) -> torch.Tensor:
        return place[:, :, self._width - num_columns :] if self._right_aligned else place[:, :, :num_columns]
