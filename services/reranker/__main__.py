"""The reranker's process: `python -m services.reranker`."""

from __future__ import annotations

from chassis.runtime import Runtime
from chassis.server import Service, run
from services.reranker.config import RerankerConfig


def build(config: RerankerConfig, runtime: Runtime) -> Service:
    from services.reranker.service import RerankerService  # torch: only once the device is resolved

    return RerankerService(config, runtime)


if __name__ == "__main__":
    run("reranker", RerankerConfig, build)
