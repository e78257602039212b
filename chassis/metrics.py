"""What `/metrics` shows. Every series of a process is there, at zero, before its first request."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from chassis.device import Device

logger = logging.getLogger(__name__)

Reading = tuple[str, str, Callable[[], float]]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 1_024, 4_096, 16_384, 65_536)
RATIOS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)

DROPPED_REASONS = ("cancelled", "expired", "hopeless", "draining")
REFUSED_REASONS = ("full", "late", "expired", "draining")
FINISHED_REASONS = ("stop", "length", "cancelled", "deadline", "failed")


class Metrics:
    """One process's metrics. A group that a process does not use (index, tokens) is never made."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.request_duration = Histogram(
            "trivium_request_duration_seconds",
            "From arrival to the last byte, by method and status.",
            ["method", "code"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.ready = Gauge("trivium_ready", "1 while health is SERVING.", registry=self.registry)
        self.event_loop_lag = Gauge(
            "trivium_event_loop_lag_seconds",
            "How late the event loop last woke: anything above a few milliseconds means that something blocks it.",
            registry=self.registry,
        )

    def expect(self, methods: Sequence[str]) -> None:
        """Show these full method names from now on, though nobody has called them."""
        for method in methods:
            self.request_duration.labels(method=method, code="OK")

    @cached_property
    def queue(self) -> QueueMetrics:
        """Of the queue before the device."""
        return QueueMetrics(self.registry)

    @cached_property
    def index_version(self) -> Gauge:
        """Labels: collection."""
        return Gauge("trivium_index_version", "Version being served.", ["collection"], registry=self.registry)

    @cached_property
    def live_passages(self) -> Gauge:
        """Labels: collection."""
        return Gauge(
            "trivium_live_passages",
            "Passages that were stored since the version being served and are searched beside it.",
            ["collection"],
            registry=self.registry,
        )

    @cached_property
    def degraded(self) -> Counter:
        """Labels: step."""
        return Counter("trivium_degraded", "Replies that went without a step.", ["step"], registry=self.registry)

    @cached_property
    def time_to_first_token(self) -> Histogram:
        """Seconds from arrival to the first text delta."""
        return Histogram(
            "trivium_time_to_first_token_seconds",
            "From arrival to the first text delta.",
            buckets=SECONDS,
            registry=self.registry,
        )

    @cached_property
    def time_per_output_token(self) -> Histogram:
        """Seconds per token after the first."""
        return Histogram(
            "trivium_time_per_output_token_seconds",
            "Mean time per token after the first, one observation an answer.",
            buckets=SECONDS,
            registry=self.registry,
        )

    @cached_property
    def answers_finished(self) -> Counter:
        """Labels: reason."""
        finished = Counter(
            "trivium_answers_finished",
            "Answers by why they ended; what was refused at once is none.",
            ["reason"],
            registry=self.registry,
        )
        for reason in FINISHED_REASONS:
            finished.labels(reason=reason)
        return finished

    @cached_property
    def removed_citations(self) -> Counter:
        """Citations of passages that the model had not read."""
        return Counter(
            "trivium_citations_removed",
            "Citations left out of answers because they named no passage that the model had read.",
            registry=self.registry,
        )

    @cached_property
    def cache(self) -> CacheMetrics:
        """Of the answers on their way."""
        return CacheMetrics(self.registry)

    def show_device(self, device: Device) -> None:
        """Say where the process computes; of a GPU also memory and utilisation, read by NVML at each scrape.

        What NVML cannot read of this device (utilisation of a MIG slice) is left out.
        """
        labels = ["device", "uuid", "name"]
        info = Gauge("trivium_device_info", "Where the process computes; always 1.", labels, registry=self.registry)
        info.labels(device=device.torch_name, uuid=device.uuid, name=device.name).set(1)
        if not device.is_gpu:
            return
        import pynvml

        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(device.uuid)
        except pynvml.NVMLError as error:
            logger.warning("NVML does not know the device", extra={"uuid": device.uuid, "reason": str(error)})
            return
        self._show_readings(device.uuid, _readings(handle))

    def _show_readings(self, uuid: str, readings: Sequence[Reading]) -> None:
        for name, text, read in readings:
            if math.isnan(read()):
                logger.info("NVML cannot read this of the device", extra={"uuid": uuid, "metric": name})
            else:
                gauge = Gauge(name, text, ["uuid"], registry=self.registry)
                gauge.labels(uuid=uuid).set_function(read)

    def serve(self, address: str) -> int:
        """Serve `/metrics` at `host:port` on a thread of its own. Returns the port. Raises OSError."""
        host, _, port = address.rpartition(":")
        server, _ = start_http_server(int(port), addr=host.strip("[]"), registry=self.registry)
        bound_port: int = server.server_port
        return bound_port


def _readings(handle: Any) -> list[Reading]:
    """What NVML tells of a GPU or a MIG slice: name, text, and how to read it. NaN where it cannot be read."""
    import pynvml

    def memory(part: str) -> Callable[[], float]:
        return _tolerant(lambda: float(getattr(pynvml.nvmlDeviceGetMemoryInfo(handle), part)))

    utilisation = _tolerant(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
    return [
        ("trivium_device_memory_used_bytes", "Memory in use on the GPU, by anybody.", memory("used")),
        ("trivium_device_memory_total_bytes", "Memory of the GPU.", memory("total")),
        ("trivium_device_utilisation_ratio", "Share of the last sampling period in which a kernel ran.", utilisation),
    ]


def _tolerant(read: Callable[[], float]) -> Callable[[], float]:
    """NaN in place of an NVML error: a GPU that fell off its bus must not take the other metrics along."""
    import pynvml

    def read_or_nan() -> float:
        try:
            return read()
        except pynvml.NVMLError:
            return math.nan

    return read_or_nan


class QueueMetrics:
    """Of the queue before a device, and of the batches that it formed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(name, text, buckets=buckets, registry=registry)

        self.depth = Gauge("trivium_queue_depth", "Entries waiting for the device.", registry=registry)
        self.wait = histogram("trivium_queue_wait_seconds", "From arrival in the queue to the batch.", SECONDS)
        self.batch_size = histogram("trivium_batch_size", "Entries in a batch.", COUNTS)
        self.batch_tokens = histogram("trivium_batch_tokens", "Tokens in a batch, padding excluded.", TOKENS)
        self.padding = histogram("trivium_batch_padding_ratio", "Share of a batch that was padding.", RATIOS)
        self.compute = histogram("trivium_batch_compute_seconds", "Device time of a batch.", SECONDS)
        self.dropped = Counter(
            "trivium_queue_dropped",
            "Admitted entries that nobody waits for any more: dropped from the queue, or stopped at the next token.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter("trivium_queue_refused", "Entries refused on arrival.", ["reason"], registry=registry)
        for reason in DROPPED_REASONS:
            self.dropped.labels(reason=reason)
        for reason in REFUSED_REASONS:
            self.refused.labels(reason=reason)
        self.failed_batches = Counter("trivium_batch_failed", "Batches that raised.", registry=registry)
        self.saturation = Gauge(
            "trivium_saturation",
            "Seconds of device work offered, refused work included, per second, over the last 15 s.",
            registry=registry,
        )


class CacheMetrics:
    """Of the cache that answers on their way take of a device's memory."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._limit = Gauge(
            "trivium_cache_tokens_limit", "Tokens that answers may reserve. 0: nothing bounds them.", registry=registry
        )
        self._reserved = Gauge(
            "trivium_cache_tokens_reserved", "Tokens that the answers on their way may come to take.", registry=registry
        )
        self._used = Gauge(
            "trivium_cache_tokens_used", "Tokens that the answers on their way take now.", registry=registry
        )
        self._put_back = Counter(
            "trivium_answers_put_back",
            "Times that an answer on its way was put back because memory ran out, and read again later.",
            registry=registry,
        )

    def cache_changed(self, limit: float, reserved: int, used: int) -> None:
        self._limit.set(limit if math.isfinite(limit) else 0)
        self._reserved.set(reserved)
        self._used.set(used)

    def put_back(self, num_answers: int) -> None:
        self._put_back.inc(num_answers)
