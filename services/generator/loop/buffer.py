"""What an answer has brought and its reader has not taken yet."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

from services.generator.engine import Step

MAX_JOINED = 512
"""Steps in one piece, so that a reader who comes late gets few messages and none that is too large."""


class Buffer:
    """Steps in, by the loop that never waits; joined steps out, for one reader who may be slow.

    It holds at most a whole answer, which `max_output_tokens` bounds.
    """

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._news = asyncio.Event()
        self._is_ended = False

    def put(self, step: Step) -> None:
        """What a step brought. Tokens without text wait for the next text, or for the end."""
        if step.text or step.tokens:
            self._steps.append(step)
        if step.text:
            self._news.set()

    def end(self) -> None:
        """Nothing comes after this, however the answer ended."""
        self._is_ended = True
        self._news.set()

    async def take(self) -> Step | None:
        """All that waits, as one step. None when the answer has ended and all was taken."""
        await self._news.wait()
        taken, self._steps = self._steps[:MAX_JOINED], self._steps[MAX_JOINED:]
        if not (self._is_ended or any(step.text for step in self._steps)):
            self._news.clear()
        return joined(taken) if taken else None


def joined(steps: Sequence[Step]) -> Step:
    """One step that brought what these did, in their order. At least one."""
    last = steps[-1]
    return Step(
        "".join(step.text for step in steps),
        tuple(itertools.chain.from_iterable(step.quotes for step in steps)),
        sum(step.num_tokens for step in steps),
        last.finish,
        tuple(itertools.chain.from_iterable(step.tokens for step in steps)),
        last.stop,
    )
