"""The generator's process: `python -m services.generator`."""

from __future__ import annotations

import os

from chassis.runtime import Runtime
from chassis.server import Service, run
from services.generator.config import GeneratorConfig

NUM_KEPT_SHAPES = "64"
"""For which oneDNN keeps compiled code. A generator meets new shapes at nearly every step and comes back to few: the
1,024 that oneDNN would keep take hundreds of megabytes and make it no faster (docs/operations.md)."""


def build(config: GeneratorConfig, runtime: Runtime) -> Service:
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", NUM_KEPT_SHAPES)  # read at the first product
    from services.generator.service import GeneratorService  # torch: only once the device is resolved

    return GeneratorService(config, runtime)


if __name__ == "__main__":
    run("generator", GeneratorConfig, build)
