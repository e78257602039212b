"""A device whose allocator refuses: real passes of real modules run out of memory where a test says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from services.generator.engine import Flight, PutBack, Sampling, Step
from services.generator.prompts.prompt import TokenPrompt
from services.generator.rows.row_flight import RowFlight


class Allocator(TorchDispatchMode):
    """Refuses every tensor of more than `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._max_bytes = max_bytes

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.nbytes > self._max_bytes:
                raise torch.OutOfMemoryError(f"no {tensor.nbytes} bytes")
        return made


FlightT = TypeVar("FlightT", bound=Flight[Any])


class Scarce(Generic[FlightT]):
    """A real flight on such a device. Counts what it put back."""

    def __init__(self, flight: FlightT, allocator: AbstractContextManager[Any]) -> None:
        self.flight = flight
        self.allocator = allocator
        self.num_put_back = 0

    def step(
        self, joining: Mapping[int, tuple[TokenPrompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Step | PutBack | Exception]:
        with self.allocator:
            outcomes = self.flight.step(joining, leaving)
        self.num_put_back += sum(isinstance(outcome, PutBack) for outcome in outcomes.values())
        return outcomes


def is_empty(flight: RowFlight) -> bool:
    """Whether no row is left, on its way or put back."""
    return not flight._batches and not flight._put_back
