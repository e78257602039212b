"""How answers ended and how fast they were written: told to the metrics and to the request's span."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GEN_AI_RESPONSE_FINISH_REASONS

from chassis import attributes, deadline
from chassis.errors import DeadlinePassed, InvalidRequest, Overloaded
from chassis.metrics import Metrics

REFUSED = (InvalidRequest, Overloaded)
"""The answer was never begun."""


class Answers:
    """Those of one process. The current span is that of the answer's request."""

    def __init__(self, metrics: Metrics) -> None:
        self._finished = metrics.answers_finished
        self._time_to_first_token = metrics.time_to_first_token
        self._time_per_output_token = metrics.time_per_output_token

    def finished(self, reason: str) -> None:
        """One has ended: stop, length, cancelled, deadline or failed."""
        self._finished.labels(reason=reason).inc()
        trace.get_current_span().set_attribute(GEN_AI_RESPONSE_FINISH_REASONS, [reason])

    @contextlib.contextmanager
    def unfinished(self) -> Iterator[None]:
        """An answer is on its way. What is raised inside goes on, and is why it has ended."""
        given_s = deadline.current().remaining_s()
        try:
            yield
        except REFUSED:
            raise
        except (GeneratorExit, asyncio.CancelledError):
            over = deadline.current().is_over_for_caller(given_s)
            self.finished("deadline" if over else "cancelled")
            raise
        except Exception as error:
            self.finished("deadline" if isinstance(error, DeadlinePassed) else "failed")
            raise

    def written(self, to_first_text_s: float | None, per_token_s: float | None) -> dict[str, Any]:
        """Keyword arguments for a StageStats message of an answer that was written at this pace, seconds."""
        stats: dict[str, Any] = {}
        span = trace.get_current_span()
        if to_first_text_s is not None:
            self._time_to_first_token.observe(to_first_text_s)
            stats["time_to_first_token_ms"] = to_first_text_s * 1e3
            span.set_attribute(attributes.TIME_TO_FIRST_TOKEN_MS, to_first_text_s * 1e3)
        if per_token_s is not None:
            self._time_per_output_token.observe(per_token_s)
            stats["time_per_output_token_ms"] = per_token_s * 1e3
            span.set_attribute(attributes.TIME_PER_OUTPUT_TOKEN_MS, per_token_s * 1e3)
        return stats
