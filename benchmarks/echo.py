"""gRPC without Trivium: `python -m benchmarks.echo` answers each call with its request.

With the address of such a process as a second argument it serves `/floor.Echo/Relay` instead, which first makes three
calls of that kind itself: what any gateway before three stages must at least do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import grpc

NAME = "floor.Echo"
ECHO, RELAY = f"/{NAME}/Echo", f"/{NAME}/Relay"


async def serve(address: str, methods_by_service: Mapping[str, dict[str, Any]]) -> None:
    """Serve these methods, and nothing around them, until the process ends."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for service, methods in methods_by_service.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


def echo() -> dict[str, Any]:
    """The method that answers each call with its request."""

    async def answer(request: bytes, context: Any) -> bytes:
        return request

    return {"Echo": grpc.unary_unary_rpc_method_handler(answer)}


def relay(behind: str) -> dict[str, Any]:
    """The method that makes three such calls to that address first."""
    ask: Any = grpc.aio.insecure_channel(behind).unary_unary(ECHO)

    async def pass_on(request: bytes, context: Any) -> bytes:
        for _ in range(3):
            await ask(request)
        return request

    return {"Relay": grpc.unary_unary_rpc_method_handler(pass_on)}


async def main(address: str, behind: str = "") -> None:
    """Channels belong to the event loop on which they are opened."""
    await serve(address, {NAME: relay(behind) if behind else echo()})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
