"""What the retriever is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from chassis.config import Address, BatchConfig


@dataclass(frozen=True)
class EncoderConfig(BatchConfig):
    """What both processes that encode are told. Set it alike, or no published version is served."""

    collections_path: Path = Path("collections")
    """Directory of all collections. The indexer writes it; retrievers read it, from a read-only mount too."""

    encoder: Literal["sentence", "dpr"] = "sentence"
    """`sentence`: `model` is a sentence-transformers layout. `dpr`: `model` is a DPRQuestionEncoder, or a RAG
    checkpoint, of which its own fine-tuned question encoder is taken."""

    passage_model: str = ""
    """The DPRContextEncoder that belongs to `model`. Only for `dpr`, and then required."""


@dataclass(frozen=True)
class RetrieverConfig(EncoderConfig):
    """The retriever's settings: `RETRIEVER_…`."""

    listen_address: Address = "127.0.0.1:7001"
    """Where gRPC is served: `host:port`. Port 0 takes a free one."""

    metrics_address: Address = "127.0.0.1:7101"
    """Where Prometheus reads `/metrics`: `host:port`. Port 0 takes a free one."""

    health_address: Address = "127.0.0.1:7201"
    """Where probes ask for health over plain gRPC: `host:port`. Port 0 takes a free one."""

    poll_interval_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Seconds between two looks at the pointers to published versions."""

    max_top_k: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Most candidates that a request may ask for."""

    max_nprobe: Annotated[int, Field(ge=1, le=65_536)] = 4_096
    """Most lists of an IVF index that a request may have searched. It does not bound the default, a sixteenth."""

    max_ef_search: Annotated[int, Field(ge=1, le=65_536)] = 4_096
    """Most passages that a request may have the walk over an HNSW index keep in view."""
