"""gRPC reflection that also finds methods: ghz asks for `Service.Method`, which protobuf's pool does not index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection


class _Pool:
    """The default pool; a symbol that it misses is looked for in the scope around it."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 (protobuf's name)
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindFileContainingSymbol(symbol.rpartition(".")[0])


def serve_reflection(service_names: Sequence[str], server: grpc.aio.Server) -> None:
    """Describe these services, health and reflection to whoever asks."""
    names = (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
    pool: Any = _Pool()
    reflection.enable_server_reflection(names, server, pool=pool)
