"""Engines that answer one request at a time. Imports torch."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Set
from typing import Any

from services.generator.engine import Engine, NoMemory, Prompt, Sampling, Step
from services.generator.rows.shortage import is_shortage


class Alone:
    """A flight whose answers do not know of each other: each is an engine's own `generate`."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._steps_by_number: dict[int, Generator[Step, None, None]] = {}

    @property
    def numbers(self) -> Set[int]:
        """Those of the answers on their way."""
        return self._steps_by_number.keys()

    def step(
        self, joining: Mapping[int, tuple[Prompt, Sampling]], leaving: Collection[int]
    ) -> Mapping[int, Step | Exception]:
        for number in leaving:
            self._end(number)
        for number, (prompt, sampling) in joining.items():
            self._steps_by_number[number] = self._engine.generate(prompt, sampling)
        return {number: self._next(number) for number in list(self._steps_by_number)}

    def _next(self, number: int) -> Step | Exception:
        try:
            step = next(self._steps_by_number[number])
        except Exception as error:
            self._end(number)
            return NoMemory() if is_shortage(error) else error
        if step.finish:
            self._end(number)
        return step

    def _end(self, number: int) -> None:
        if steps := self._steps_by_number.pop(number, None):
            steps.close()
