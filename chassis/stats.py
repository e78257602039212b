"""What a stage spent on one request: told to the caller, and to the request's span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace

from chassis import attributes
from chassis.checkpoint import Checkpoint
from chassis.observer import BatchStats
from chassis.runtime import Runtime


def stage_stats(
    runtime: Runtime,
    checkpoint: Checkpoint | None,
    batches: Sequence[BatchStats],
    truncated_tokens: int = 0,
    tokens: int = 0,
) -> dict[str, Any]:
    """Keyword arguments for a StageStats message; the current span gets the same numbers.

    `batches` has one entry for each item of the request; items that shared a batch count its compute time once.
    `tokens` are the request's own. `checkpoint` is None when no model ran.
    """
    shared = {(one.compute_ms, one.batch_size, one.num_tokens, one.num_padded_tokens) for one in batches}
    padded_tokens = sum(padded for _, _, _, padded in shared)
    stats: dict[str, Any] = {
        "queue_ms": min((one.queue_ms for one in batches), default=0.0),
        "compute_ms": sum(compute_ms for compute_ms, _, _, _ in shared),
        "batch_size": max((size for _, size, _, _ in shared), default=0),
        "padding_ratio": 1 - sum(num for _, _, num, _ in shared) / padded_tokens if padded_tokens else 0.0,
        "tokens": tokens,
        "truncated_tokens": truncated_tokens,
    }
    trace.get_current_span().set_attributes(
        {
            attributes.QUEUE_MS: stats["queue_ms"],
            attributes.COMPUTE_MS: stats["compute_ms"],
            attributes.BATCH_SIZE: stats["batch_size"],
            attributes.BATCH_PADDING_RATIO: stats["padding_ratio"],
            attributes.TOKENS: tokens,
            attributes.TRUNCATED_TOKENS: truncated_tokens,
        }
    )
    return {
        **stats,
        "stage": runtime.name,
        "replica": runtime.replica,
        "model": checkpoint.name if checkpoint else "",
        "revision": checkpoint.revision if checkpoint else "",
    }
