"""What a flight of rows asks of a model, whatever its architecture. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch

from services.generator.rows.row import Row


class Memory(Protocol):
    """What a decoder keeps of some rows: keys and values of every token that it has read."""

    def __len__(self) -> int:
        """Rows."""
        ...

    def grow(self) -> None:
        """A pass has succeeded: every row's newest tokens are in the cache."""
        ...

    def rewind(self) -> None:
        """Undo a pass that failed midway, when some layers had the newest tokens."""
        ...


MemoryT = TypeVar("MemoryT", bound=Memory)


class Decoder(Protocol[MemoryT]):
    """A model that reads and continues rows. The modules are transformers' own.

    Scores are those of each row's next token, shape (rows, vocabulary), float32 whatever the model's dtype, as
    `generate` has it: rules then round the same.
    """

    scores_what_it_reads: bool
    """Whether reading a prompt tells what comes next, as where one model reads and writes. Otherwise newcomers are to
    go on with the others."""

    def read(self, rows: Sequence[Row]) -> tuple[MemoryT, torch.Tensor | None]:
        """Memory of newcomers, who may have tokens already, and scores; or None, and each row's newest token is still
        unread. At least one row."""
        ...

    def go_on(self, memory: MemoryT, rows: Sequence[Row]) -> torch.Tensor:
        """Scores, after each row's newest token has been read."""
        ...

    def gather(self, parts: Sequence[tuple[MemoryT, Sequence[int]]]) -> MemoryT:
        """These rows of these memories as one. At least one row."""
        ...


AnyDecoder = Decoder[Any]
