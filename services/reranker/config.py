"""What the reranker is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from chassis.config import Address, BatchConfig


@dataclass(frozen=True)
class RerankerConfig(BatchConfig):
    """Every field is a variable: `RERANKER_MAX_CANDIDATES`."""

    listen_address: Address = "127.0.0.1:7003"
    """Where gRPC is served: `host:port`. Port 0 takes a free one."""

    metrics_address: Address = "127.0.0.1:7103"
    """Where Prometheus reads `/metrics`: `host:port`. Port 0 takes a free one."""

    health_address: Address = "127.0.0.1:7203"
    """Where probes ask for health over plain gRPC: `host:port`. Port 0 takes a free one."""

    engine: Literal["late-interaction", "cross-encoder"] = "late-interaction"
    """How a passage is judged: `cross-encoder` reads it together with the question and needs a model trained for
    that; `late-interaction` compares the token vectors of any encoder."""

    max_candidates: Annotated[int, Field(ge=1)] = 1_000
    """Candidates in one request. More are INVALID_ARGUMENT."""

    max_length: Annotated[int, Field(ge=64)] = 512
    """Tokens that the model reads at once: question and passage together for a cross-encoder, each of them for
    late interaction. The model's own limit where that is lower. Passages are cut to it; cost grows with it."""

    calibration: Annotated[str, Field(min_length=1)] = "shipped"
    """What turns this engine's and model's evidence into probabilities. A file, or `shipped`: the one that comes with
    the embedded model and late interaction, and nothing for others. Without one, or with `none`, there are no
    probabilities, and nobody abstains."""
