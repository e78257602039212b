"""The loop between queue and an engine that writes whole answers, many questions at a time.

It is the batcher's: the next batch starts when the device is free, with what waits. A caller who leaves before that
costs nothing; one who leaves later costs a place in the batch. The text comes in one piece.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from chassis.batcher import Batcher, Served
from chassis.deadline import Deadline
from chassis.executor import Executor
from chassis.queue import Queue
from services.generator.engine import Answer, AnswersWhole, Asked, Prompt, Sampling, Step
from services.generator.loop.decoding import OnDevice
from services.generator.loop.flyer import Ended


@dataclass(frozen=True)
class WholeEnded(Ended):
    """What an answer was in the end, and what it rests on."""

    weight_by_passage_id: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Device:
    """The device's thread, as the batcher wants it."""

    on_device: OnDevice

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self.on_device(function, *arguments)


class WholeAnswers:
    """`start` it, take answers from it, `close` it."""

    def __init__(
        self,
        engine: AnswersWhole,
        queue: Queue[Any],
        on_device: OnDevice,
        helper: Executor,
        max_batch_tokens: int,
    ) -> None:
        self._batcher: Batcher[Asked[Any], Answer] = Batcher(
            engine, queue=queue, max_batch_tokens=max_batch_tokens, device=_Device(on_device), helper=helper
        )

    def start(self) -> None:
        self._batcher.start()

    async def close(self) -> None:
        """Take nothing new, fail what waits as Unavailable, and let the running batch end. Idempotent."""
        await self._batcher.close()

    async def answer(
        self, prompt: Prompt, sampling: Sampling, deadline: Deadline
    ) -> AsyncGenerator[Step | Ended, None]:
        """The text in one step, then how it ended. Raises what the queue refuses or drops it with, or the engine."""
        served = await self._batcher.submit(Asked(prompt, sampling), deadline=deadline)
        answer = served.output
        if answer.text:
            yield answer.step()
        yield _ended(served)


def _ended(served: Served[Answer]) -> WholeEnded:
    answer, now = served.output, time.perf_counter()
    return WholeEnded(
        finish=answer.finish,
        num_tokens=answer.num_tokens,
        stats=served.stats,
        first_text_at=now if answer.text else None,
        last_text_at=now,
        num_first_tokens=answer.num_tokens,
        stop=answer.stop,
        citations=answer.citations,
        weight_by_passage_id=answer.weight_by_passage_id,
    )
