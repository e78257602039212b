"""The retriever's process: `python -m services.retriever`."""

from __future__ import annotations

from chassis.runtime import Runtime
from chassis.server import Service, run
from services.retriever.config import RetrieverConfig


def build(config: RetrieverConfig, runtime: Runtime) -> Service:
    from services.retriever.service import RetrieverService  # torch: only once the device is resolved

    return RetrieverService(config, runtime)


if __name__ == "__main__":
    run("retriever", RetrieverConfig, build)
