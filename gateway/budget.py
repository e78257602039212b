"""One deadline, split over the stages of one question."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from chassis import deadline
from chassis.deadline import Deadline
from gateway.config import GatewayConfig
from trivium.v1.gateway_pb2 import StageBudget


class Budget:
    """Gives each stage its part of the deadline and measures what it took.

    A stage gets `left * share / (its share + the shares of the stages after it)`: what one saves, the later
    ones get, and no stage can spend what is kept for a later one. The last gets all that is left, less
    `reserve_s` (but never less than half), which is for sending a reply without it.
    """

    def __init__(self, deadline: Deadline, share_by_stage: Mapping[str, float], reserve_s: float = 0.0) -> None:
        """`share_by_stage` is in order of use."""
        self._deadline = deadline
        self._share_by_stage = dict(share_by_stage)
        self._reserve_s = reserve_s
        self._began = time.monotonic()
        self.deadline_ms = deadline.remaining_s() * 1e3
        self.stages: list[StageBudget] = []
        """What each stage that was called was given and spent, in order of use."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Deadline]:
        """Time spent inside is the stage's; it has until the deadline that this yields."""
        given_s = self._given_s(name)
        began = time.monotonic()
        try:
            yield Deadline.after(given_s)
        finally:
            spent_ms = (time.monotonic() - began) * 1e3
            self.stages.append(StageBudget(stage=name, given_ms=given_s * 1e3, spent_ms=spent_ms))

    def elapsed_ms(self) -> float:
        """Milliseconds since the question arrived."""
        return (time.monotonic() - self._began) * 1e3

    def _given_s(self, name: str) -> float:
        left_s = max(0.0, self._deadline.remaining_s())
        spendable_s = left_s - min(self._reserve_s, left_s / 2)
        names = list(self._share_by_stage)
        to_come = [self._share_by_stage[later] for later in names[names.index(name) :]]
        return spendable_s * to_come[0] / sum(to_come)


def search_budget(config: GatewayConfig) -> Budget:
    """For a question whose passages are wanted. It can do without the reranker."""
    shares = {"retriever": config.retriever_share, "reranker": config.reranker_share}
    return Budget(deadline.current(), shares, config.reply_reserve_s)


def answer_budget(config: GatewayConfig, allow_sources_only: bool) -> Budget:
    """For a question whose answer is wanted. It can do without the generator where its caller allows that."""
    shares = {
        "retriever": config.retriever_share,
        "reranker": config.reranker_share,
        "generator": config.generator_share,
    }
    return Budget(deadline.current(), shares, config.reply_reserve_s if allow_sources_only else 0.0)
