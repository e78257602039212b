"""Where blocking work runs: a thread of its own, so that nothing blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

Output = TypeVar("Output")


class Executor(Protocol):
    """Runs one function at a time, elsewhere. Tests give one that only sleeps simulated seconds."""

    async def run(self, function: Callable[..., Output], *arguments: Any) -> Output:
        """What `function(*arguments)` returns or raises."""
        ...


class SingleThread:
    """One thread, which lives as long as this object: a device's own, or the tokeniser's."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix=name, initializer=_show_name, initargs=(name,)
        )

    async def run(self, function: Callable[..., Output], *arguments: Any) -> Output:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _call, function, *arguments)

    def close(self) -> None:
        """Let the running function finish and start no other. Does not wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _show_name(name: str) -> None:
    """Where the kernel keeps names of threads, for `top -H`, for profilers and for pinning."""
    with contextlib.suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name[:15])


def _call(function: Callable[..., Output], *arguments: Any) -> Output:
    try:
        return function(*arguments)
    except StopIteration as error:  # an asyncio future cannot hold one: its awaiter would wait for ever
        raise RuntimeError("StopIteration from blocking work") from error
