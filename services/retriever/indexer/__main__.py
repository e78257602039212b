"""The indexer's process: `python -m services.retriever.indexer`."""

from __future__ import annotations

from chassis.runtime import Runtime
from chassis.server import Service, run
from services.retriever.indexer.config import IndexerConfig


def build(config: IndexerConfig, runtime: Runtime) -> Service:
    from services.retriever.indexer.service import IndexerService  # torch: only once the device is resolved

    return IndexerService(config, runtime)


if __name__ == "__main__":
    run("indexer", IndexerConfig, build)
