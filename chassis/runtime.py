"""What the chassis gives a service: a name, metrics, and a device with a queue before it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from opentelemetry import trace

from chassis import attributes
from chassis.batcher import Batcher, Model
from chassis.config import BatchConfig, ModelConfig, ServerConfig
from chassis.cost_model import CostModel
from chassis.device import Device
from chassis.executor import SingleThread
from chassis.metrics import Metrics, QueueMetrics
from chassis.observer import BatchReport
from chassis.queue import Queue

Output = TypeVar("Output")

MAX_SKIPS = 16
"""Batches that may pass an entry over for the sake of like lengths."""

BATCH_TOKENS_ON_A_CPU, BATCH_TOKENS_ON_A_GPU = 1_024, 16_384
"""Of a small encoder, 1,024 take a quarter of a second on two cores (docs/performance.md)."""

tracer = trace.get_tracer("trivium")


@dataclass
class Runtime:
    """One process's. Services get it when they are built."""

    name: str
    """`reranker`."""
    replica: str
    """`host:port`, for StageStats."""
    config: ServerConfig
    metrics: Metrics
    device: Device | None
    """Resolved before torch is imported. None for a process without a model."""
    _threads: list[SingleThread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._device_thread = self._thread("device")
        if self.device is not None:
            self.metrics.queue  # noqa: B018 (shown from now on, though no queue is there yet)
            self.metrics.show_device(self.device)

    def queue(self, pads: bool = True) -> Queue[Any]:
        """A queue before the device. Metrics and traces see it. `pads` as the model's."""
        assert isinstance(self.config, ModelConfig)
        observer = _Observer(self.name, self.metrics.queue)
        queue: Queue[Any] = Queue(
            clock=time.monotonic,
            cost_model=CostModel(),
            max_entries=self.config.max_queue_entries,
            max_skips=MAX_SKIPS,
            pads=pads,
            observer=observer,
        )
        self.metrics.queue.saturation.set_function(queue.saturation)
        return queue

    def batcher(self, model: Model[Any, Any, Any]) -> Batcher[Any, Any]:
        """A batcher over such a queue, not yet started."""
        assert isinstance(self.config, BatchConfig)
        return Batcher(
            model,
            queue=self.queue(model.pads),
            max_batch_tokens=self.config.max_batch_tokens or default_batch_tokens(self.device),
            device=self._device_thread,
            helper=self._thread("tokeniser"),
        )

    async def on_device(self, function: Callable[..., Output], *arguments: Any) -> Output:
        """What `function(*arguments)` returns, run on the device's own thread."""
        return await self._device_thread.run(function, *arguments)

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.close()

    def _thread(self, name: str) -> SingleThread:
        self._threads.append(SingleThread(f"{self.name}-{name}"))
        return self._threads[-1]


def default_batch_tokens(device: Device | None) -> int:
    """Padded tokens of a batch where no setting says how many."""
    return BATCH_TOKENS_ON_A_GPU if device and device.is_gpu else BATCH_TOKENS_ON_A_CPU


class _Observer:
    """Shows a queue and its batches as metrics, and each batch as a span linked to its members."""

    def __init__(self, name: str, metrics: QueueMetrics) -> None:
        self._name = name
        self._metrics = metrics

    def refused(self, reason: str) -> None:
        self._metrics.refused.labels(reason=reason).inc()

    def dropped(self, reason: str) -> None:
        self._metrics.dropped.labels(reason=reason).inc()

    def depth_changed(self, depth: int) -> None:
        self._metrics.depth.set(depth)

    def batch_finished(self, report: BatchReport) -> None:
        padding = 1 - report.num_tokens / report.num_padded_tokens if report.num_padded_tokens else 0.0
        for wait in report.queue_waits_s:
            self._metrics.wait.observe(wait)
        self._metrics.batch_size.observe(report.batch_size)
        self._metrics.batch_tokens.observe(report.num_tokens)
        self._metrics.padding.observe(padding)
        self._metrics.compute.observe(report.ended_at - report.started_at)
        if report.error is not None:
            self._metrics.failed_batches.inc()
        self._trace(report, padding)

    def _trace(self, report: BatchReport, padding: float) -> None:
        """The batch belongs to no one question: its span is a root of its own, with a link to each member."""
        callers = (entry.caller.run(trace.get_current_span) for entry in report.entries)
        members = {one.span_id: one for one in (span.get_span_context() for span in callers) if one.is_valid}
        to_wall_ns = time.time_ns() - int(time.monotonic() * 1e9)
        span = tracer.start_span(
            f"{self._name} batch",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            start_time=to_wall_ns + int(report.started_at * 1e9),
            links=[trace.Link(member) for member in members.values()],
            attributes={
                attributes.BATCH_SIZE: report.batch_size,
                attributes.BATCH_TOKENS: report.num_tokens,
                attributes.BATCH_PADDING_RATIO: padding,
            },
        )
        if report.error is not None:
            span.set_status(trace.StatusCode.ERROR)
        span.end(to_wall_ns + int(report.ended_at * 1e9))
