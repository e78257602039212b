"""The decoding loop with a real flight behind a real queue, in simulated time."""

from __future__ import annotations

import asyncio
from typing import Any

from chassis.cost_model import CostModel
from chassis.deadline import NEVER, Deadline
from chassis.queue import Queue
from services.generator.engine import Flight, Sampling, Step
from services.generator.loop.decoding import DecodingLoop
from services.generator.loop.flyer import Ended, Generation
from services.generator.loop.room import Room
from services.generator.prompts.prompt import TokenPrompt
from tests import simulated_time

STEP_S = 0.01
Request = tuple[TokenPrompt, Sampling]


class Loop:
    """A real flight behind a real queue, in simulated time."""

    def __init__(self, flight: Flight[Any], room: Room) -> None:
        self.flight = flight
        device = simulated_time.SimulatedExecutor(lambda *_: STEP_S)
        self.queue: Queue[Generation] = Queue(
            clock=simulated_time.now, cost_model=CostModel(), max_entries=100, max_skips=8
        )
        self.loop = DecodingLoop(flight, self.queue, device.run, room)
        self.num_tokens: dict[int, int] = {}
        """By request: what its end says."""

    async def text(self, number: int, request: Request, after_s: float, deadline: Deadline = NEVER) -> str:
        await asyncio.sleep(after_s)
        text = ""
        async for event in self.loop.answer(*request, deadline):
            if isinstance(event, Step):
                text += event.text
            elif isinstance(event, Ended):
                self.num_tokens[number] = event.num_tokens
        return text

    async def close(self) -> None:
        await self.loop.close()
        statistics = self.queue.statistics
        assert statistics["submitted"] == statistics.total() - statistics["submitted"], "somebody never heard"
        assert self.queue.depth == 0
        assert not self.queue._in_hand
        assert not self.loop._flyers
        assert not self.loop._put_back
