"""The gateway's process: `python -m gateway`."""

from __future__ import annotations

from chassis.runtime import Runtime
from chassis.server import Service, run
from gateway.config import GatewayConfig
from gateway.service import GatewayService


def build(config: GatewayConfig, runtime: Runtime) -> Service:
    return GatewayService(config, runtime.metrics)


if __name__ == "__main__":
    run("gateway", GatewayConfig, build)
