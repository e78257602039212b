"""An event loop whose clock jumps to the next timer, and a device that only takes simulated time.

A minute of load takes as long as its callbacks. A test that would hang fails at once: nothing is left to wait for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Output = TypeVar("Output")


class NothingWillEverHappen(Exception):
    """Everybody waits and no timer is set: a deadlock."""


class _Jumping(selectors.DefaultSelector):
    """Instead of sleeping until the next timer, moves the clock there."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingWillEverHappen
        self.now += timeout
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(main: Coroutine[Any, Any, Output]) -> Output:
    """What `main` returns, in simulated time from 0. Its leftover tasks are cancelled."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


class SimulatedExecutor:
    """One thread whose work takes `duration(argument)` seconds. Remembers when it was busy."""

    def __init__(self, duration: Callable[[Any], float]) -> None:
        self._duration = duration
        self._free = asyncio.Lock()
        self.busy: list[tuple[float, float]] = []

    async def run(self, function: Callable[..., Output], *arguments: Any) -> Output:
        async with self._free:
            started_at = now()
            try:
                await asyncio.sleep(self._duration(*arguments))
                return function(*arguments)
            finally:
                self.busy.append((started_at, now()))

    def busy_s(self, start: float, end: float) -> float:
        return sum(max(0.0, min(to, end) - max(at, start)) for at, to in self.busy)
