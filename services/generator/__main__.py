"""The generator's process: `python -m services.generator`."""

from __future__ import annotations

from chassis.runtime import Runtime
from chassis.server import Service, run
from services.generator.config import GeneratorConfig


def build(config: GeneratorConfig, runtime: Runtime) -> Service:
    from services.generator.service import GeneratorService  # torch: only once the device is resolved

    return GeneratorService(config, runtime)


if __name__ == "__main__":
    run("generator", GeneratorConfig, build)
