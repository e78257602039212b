"""What the gateway is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from chassis.config import Address, ServerConfig

Target = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class GatewayConfig(ServerConfig):
    """Where the stages are, how long each may take, and what a question may ask for.

    Addresses are gRPC targets: `host:port`, `dns:///name:port` (every address behind the name), or
    `ipv4:10.0.0.1:7003,10.0.0.2:7003` (several replicas by hand). Calls go round robin to the healthy ones.
    Over TLS each must be a name or one address that the stage's certificate is for; a list by hand is none.
    """

    listen_address: Address = "127.0.0.1:7000"
    """Where questions are served: `host:port`. Port 0 takes a free one."""

    metrics_address: Address = "127.0.0.1:7100"
    """Where Prometheus reads `/metrics`: `host:port`. Port 0 takes a free one."""

    health_address: Address = "127.0.0.1:7200"
    """Where probes ask for health over plain gRPC: `host:port`. Port 0 takes a free one."""

    retriever_address: Target = "127.0.0.1:7001"
    """The retrievers. No question is served without one."""

    reranker_address: Target = "127.0.0.1:7003"
    """The rerankers. Without one, answers keep the retrieved order and say so."""

    generator_address: Target = "127.0.0.1:7004"
    """The generators. Without one, questions that allow it get their sources alone; others fail."""

    dns_interval_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    """Shortest time between two look-ups of a stage's name. With `max_connection_age_s` of the stage and the name's
    time to live in DNS it bounds how long a new replica waits for its first question."""

    retriever_share: Share = 0.2
    """The retriever's part of the deadline, relative to the parts of the stages after it."""

    reranker_share: Share = 0.3
    """The reranker's part of what is left after retrieval, relative to the generator's."""

    generator_share: Share = 0.5
    """What is kept for the generator. It gets all that the others leave, this being the last stage."""

    reply_reserve_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    """Seconds kept back from the last stage where a question can do without it, so that its reply is in time."""

    max_top_k: Annotated[int, Field(ge=1)] = 100
    """Largest `top_k`. No generator takes more than 100 passages."""

    max_candidates: Annotated[int, Field(ge=1)] = 1_000
    """Largest `num_candidates`. Not above the retriever's `max_top_k` and the reranker's `max_candidates`."""

    rerank_weight: Annotated[float, Field(ge=0, le=1)] = 0.55
    """Blend of reranked and retrieved order where a question names none: 1 is the reranker's alone."""
