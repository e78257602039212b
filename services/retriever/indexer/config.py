"""What the indexer is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from chassis.config import Address
from services.retriever.config import EncoderConfig


@dataclass(frozen=True)
class IndexerConfig(EncoderConfig):
    """The indexer's settings: `INDEXER_…`."""

    listen_address: Address = "127.0.0.1:7002"
    """Where gRPC is served: `host:port`. Port 0 takes a free one."""

    metrics_address: Address = "127.0.0.1:7102"
    """Where Prometheus reads `/metrics`: `host:port`. Port 0 takes a free one."""

    health_address: Address = "127.0.0.1:7202"
    """Where probes ask for health over plain gRPC: `host:port`. Port 0 takes a free one."""

    default_deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    """Seconds that a call without a deadline gets. A stream of documents, or a publication, may take long."""

    max_deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 86_400.0
    """Seconds to which a longer deadline is cut."""

    max_passage_tokens: Annotated[int, Field(ge=16)] = 128
    """Tokens of a passage with its title and headings, or fewer where the encoder reads fewer. Part of what makes
    passages: after a change documents are to be ingested again."""

    retained_versions: Annotated[int, Field(ge=2, le=1_000)] = 5
    """How many of a collection's newest versions are kept, the published one among them: what can be rolled back
    to. Not less than two: a retriever may be loading the one before."""

    retained_for_s: Annotated[float, Field(ge=0, le=1e9)] = 86_400.0
    """Seconds for which a version is kept, however many newer ones there are."""
