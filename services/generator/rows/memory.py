"""What a decoder keeps of several rows: keys and values, in the caches of transformers. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import torch
from transformers import DynamicCache, EncoderDecoderCache

from services.generator.rows.padding import mask


class Memory:
    """What self-attention keeps of some rows: tensors of shape (rows, heads, columns, dimension of a head).

    Tokens are right-aligned: all rows have their newest in the last column, and what lies left of a row's first is
    masked. No column is masked in every row.
    """

    def __init__(self, num_unread: Sequence[int], device: torch.device) -> None:
        """Nothing is cached yet. The first pass reads `num_unread` tokens of each row."""
        self.tokens = DynamicCache()
        self.lengths = [0] * len(num_unread)
        """Tokens in the cache, by row."""
        self.num_unread = list(num_unread)
        """Tokens that the next pass reads, by row: one each, but for the first pass."""
        self.device = device

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def cache(self) -> Any:
        """As a decoder takes it: one of transformers' caches."""
        return self.tokens

    def layout(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask and positions for the next pass, both int64.

        The mask is 1 where there is a token, shape (rows, columns), with columns for the tokens that are read;
        positions are those of these tokens within their rows, shape (rows, tokens), 0 where none is.
        """
        places = self._places()
        return (places >= 0).long(), places[:, -max(self.num_unread) :].clamp(min=0)

    def grow(self) -> None:
        """The tokens of a pass are in the cache, and every row has got its next."""
        self.lengths = [length + unread for length, unread in zip(self.lengths, self.num_unread, strict=True)]
        self.num_unread = [1] * len(self)

    def rewind(self) -> None:
        """Undo a pass that failed midway, when some layers had the next tokens."""
        width = max(self.lengths)
        for layer in self.tokens.layers:
            layer.keys, layer.values = layer.keys[:, :, :width], layer.values[:, :, :width]

    def take(self, parts: Sequence[tuple[Self, Sequence[int]]]) -> None:
        """Keep these rows of these memories, each with one token unread, and nothing else."""
        self.lengths = [memory.lengths[row] for memory, rows in parts for row in rows]
        self.num_unread = [1] * len(self)
        layers = Layers([memory.at(rows) for memory, rows in parts], max(self.lengths), right_aligned=True)
        self.tokens = layers.gather([memory.tokens for memory, _ in parts])

    def at(self, rows: Sequence[int]) -> torch.Tensor | slice:
        """The index of these rows."""
        return slice(None) if len(rows) == len(self) else torch.tensor(list(rows), device=self.device)

    def _places(self) -> torch.Tensor:
        """The number of each column within its row, below zero left of the first token."""
        ends = [length + unread for length, unread in zip(self.lengths, self.num_unread, strict=True)]
        columns = torch.arange(max(ends), device=self.device)
        return columns - torch.tensor([max(ends) - end for end in ends], device=self.device)[:, None]


class CrossMemory(Memory):
    """That, and what cross-attention keeps of the rows' prompts.

    Prompts are left-aligned, and what lies right of a row's last token is masked.
    """

    def __init__(self, prompt_lengths: Sequence[int], num_unread: Sequence[int], device: torch.device) -> None:
        """Nothing is cached yet."""
        super().__init__(num_unread, device)
        self.prompts = DynamicCache()
        self._mask_prompts(prompt_lengths)

    def begin(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep what a layer, its number given, sees of the prompts; of the answers it sees nothing yet."""
        self.prompts.update(keys, values, layer)
        self.tokens.update(keys[:, :, :0], values[:, :, :0], layer)

    @property
    def cache(self) -> Any:
        """Both, as a decoder takes them."""
        return EncoderDecoderCache(self.tokens, self.prompts)

    def take(self, parts: Sequence[tuple[Self, Sequence[int]]]) -> None:
        super().take(parts)
        self._mask_prompts([memory.prompt_lengths[row] for memory, rows in parts for row in rows])
        layers = Layers([memory.at(rows) for memory, rows in parts], max(self.prompt_lengths), right_aligned=False)
        self.prompts = layers.gather([memory.prompts for memory, _ in parts])

    def _mask_prompts(self, lengths: Sequence[int]) -> None:
        self.prompt_lengths = list(lengths)
        self.prompt_mask = mask(self.prompt_lengths, self.device)
        """1 where there is a prompt, shape (rows, columns), int64."""


MemoryT = TypeVar("MemoryT", bound=Memory)


def gather(parts: Sequence[tuple[MemoryT, Sequence[int]]]) -> MemoryT:
    """These rows of these memories as one. Each key and value is copied at most twice, or not at all where a memory
    stays as it is. At least one row."""
    memory, rows = parts[0]
    if len(parts) == 1 and len(rows) == len(memory):
        return memory
    gathered = copy.copy(memory)
    gathered.take(parts)
    return gathered


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
