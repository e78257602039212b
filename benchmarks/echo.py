"""gRPC without Trivium: `python -m benchmarks.echo` answers each call with its request.

`/floor.Echo/Relay` first makes three calls of that kind itself, to the address given: what any gateway before three
stages must at least do.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

NAME = "floor.Echo"
ECHO, RELAY = f"/{NAME}/Echo", f"/{NAME}/Relay"


async def serve(address: str, behind: str) -> None:
    """Until the process ends. `behind` is where a relay's three calls go; empty: no relay."""
    channel = grpc.aio.insecure_channel(behind) if behind else None
    ask: Any = channel.unary_unary(ECHO) if channel else None

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def relay(request: bytes, context: Any) -> bytes:
        for _ in range(3):
            await ask(request)
        return request

    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Relay": grpc.unary_unary_rpc_method_handler(relay),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
