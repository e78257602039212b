"""What one question went through, for its report."""

from __future__ import annotations

import grpc
from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes.rpc_attributes import RPC_RESPONSE_STATUS_CODE
from prometheus_client import Counter

from chassis import attributes, telemetry
from gateway.budget import Budget
from trivium.v1.gateway_pb2 import Report
from trivium.v1.passage_pb2 import StageStats
from trivium.v1.retriever_pb2 import Degradation, RetrieveResponse


def step_name(step: int) -> str:
    """`rerank_skipped`: the metric's label."""
    return Degradation.Name(step).removeprefix("DEGRADATION_").lower()


class Journey:
    """The record of one question: its budget, what each stage says it spent, and what was left out."""

    def __init__(self, budget: Budget, degraded: Counter) -> None:
        self.budget = budget
        self._count = degraded
        self._index_version = 0
        self._stats: list[StageStats] = []
        self._degraded: list[Degradation] = []

    def passed(self, stats: StageStats) -> None:
        """A stage replied."""
        self._stats.append(stats)

    def retrieved(self, found: RetrieveResponse) -> None:
        """The retriever replied; a leg that it left out is taken over."""
        self.passed(found.stats)
        self._index_version = found.index_version
        for step in found.degraded:
            self.degrade(step, grpc.StatusCode.OK)

    def degrade(self, step: Degradation, code: grpc.StatusCode) -> None:
        """A step was left out. `code` is what its stage answered: OK where the stage itself went without."""
        self._degraded.append(step)
        self._count.labels(step=step_name(step)).inc()
        event = {attributes.STEP: Degradation.Name(step), RPC_RESPONSE_STATUS_CODE: code.name}
        trace.get_current_span().add_event(attributes.DEGRADED, event)

    def report(self) -> Report:
        """All of it, as of now. No stage may be at work."""
        elapsed_ms = self.budget.elapsed_ms()
        return Report(
            trace_id=telemetry.current_trace_id(),
            index_version=self._index_version,
            degraded=self._degraded,
            stages=self._stats,
            budgets=self.budget.stages,
            deadline_ms=self.budget.deadline_ms,
            elapsed_ms=elapsed_ms,
            gateway_ms=elapsed_ms - sum(stage.spent_ms for stage in self.budget.stages),
        )
