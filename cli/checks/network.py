"""How processes are reached: plainly or over TLS, one address at a time or all at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc

from cli.checks.certificates import names_of, read_chain
from cli.checks.places import Endpoint, Place
from cli.tls import TlsFiles

Found = TypeVar("Found")


@dataclass(frozen=True)
class Network:
    """How processes are reached."""

    timeout_s: float
    """For each connection and each call."""
    tls: TlsFiles | None
    """None: plain connections."""

    def endpoints(self, place: Place) -> list[Endpoint]:
        """Every address of a place. Our own process is known by its certificate's name, not by loopback."""
        found = place.endpoints(self.timeout_s)
        if self.tls and place.is_own:
            own = next(iter(names_of(read_chain(self.tls.certificate_path)[0])), "")
            return [replace(endpoint, name=own or endpoint.name) for endpoint in found]
        return found

    @contextlib.contextmanager
    def channel(self, endpoint: Endpoint) -> Iterator[grpc.Channel]:
        """A channel to this address alone."""
        plain = (("grpc.enable_http_proxy", 0),)
        if self.tls is None:
            channel = grpc.insecure_channel(endpoint.address, options=plain)
        else:
            options = (*plain, ("grpc.ssl_target_name_override", endpoint.name))
            channel = grpc.secure_channel(endpoint.address, self.tls.credentials(), options=options)
        with channel:
            yield channel


def on_each(function: Callable[[Endpoint], Found], endpoints: Sequence[Endpoint]) -> list[Found]:
    """What `function` returns for each endpoint, asked at the same time."""
    with ThreadPoolExecutor(max(1, len(endpoints)), thread_name_prefix="endpoint") as pool:
        return list(pool.map(function, endpoints))
