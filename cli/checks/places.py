"""Where the processes are: from options, from the settings of the process whose container this is, or as `up` does."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from cli.checks.check import Trouble, within
from cli.system import MODULE_BY_PROCESS, STAGES

SERVICE_BY_PROCESS = {name: f"trivium.v1.{name.capitalize()}Service" for name in MODULE_BY_PROCESS}
UP_PORT_BY_PROCESS = {name: 7_000 + index for index, name in enumerate(MODULE_BY_PROCESS)}

UP = "as `trivium up` does"

_TARGET = re.compile(r"(?:dns:(?://[^/]*/)?|ipv[46]:(?://[^/]*/)?)?(?P<list>[^/]+)")
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}


@dataclass(frozen=True)
class Endpoint:
    """One address of one replica."""

    host: str
    """An IP address."""
    port: int
    name: str
    """What its certificate must carry: the name by which it was found."""

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Place:
    """Where a process is said to be."""

    process: str
    target: str
    """`host:port`, `dns:///name:port`, or `ipv4:10.0.0.1:7003,10.0.0.2:7003`."""
    source: str
    """Who says so: `--reranker`, `GATEWAY_RERANKER_ADDRESS`."""
    is_own: bool = False
    """True for the process in whose container this runs."""

    @property
    def is_default(self) -> bool:
        """True where nobody named an address."""
        return self.source == UP

    def endpoints(self, timeout_s: float) -> list[Endpoint]:
        """Every address behind the target. Raises Trouble."""
        return resolve(self.target, self.source, timeout_s)


def find_places(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Place]:
    """By process, in the order of a question. Options win over settings; where there is neither, `up`'s addresses."""
    places = {name: Place(name, target, f"--{name}") for name, target in given.items() if target}
    for stage in STAGES:
        variable = f"GATEWAY_{stage.upper()}_ADDRESS"
        if environ.get(variable):
            places.setdefault(stage, Place(stage, environ[variable], variable))
    for name in MODULE_BY_PROCESS:
        variable = f"{name.upper()}_LISTEN_ADDRESS"
        if environ.get(variable):
            places.setdefault(name, Place(name, reachable(environ[variable]), variable, is_own=True))
    if not places:
        places = {name: Place(name, f"127.0.0.1:{port}", UP) for name, port in UP_PORT_BY_PROCESS.items()}
    return {name: places[name] for name in MODULE_BY_PROCESS if name in places}


def reachable(listen_address: str) -> str:
    """The address under which a process that listens there is reached from beside it."""
    host, _, port = listen_address.rpartition(":")
    return f"{_WILDCARDS.get(host, host)}:{port}"


def resolve(target: str, source: str, timeout_s: float) -> list[Endpoint]:
    """Every address that a gRPC target stands for, without doubles. Raises Trouble."""
    matched = _TARGET.fullmatch(target)
    if not matched:
        raise Trouble(f"{target!r} is no gRPC target", f"Write host:port or dns:///name:port in {source}.")
    endpoints: dict[str, Endpoint] = {}
    for one in matched["list"].split(","):
        host, _, port = one.rpartition(":")
        if not host or not port.isdecimal():
            raise Trouble(f"{target!r} has no port", f"Write host:port or dns:///name:port in {source}.")
        for found in _addresses_of(host.strip("[]"), int(port), source, timeout_s):
            endpoints.setdefault(found.address, found)
    return list(endpoints.values())


def _addresses_of(name: str, port: int, source: str, timeout_s: float) -> list[Endpoint]:
    try:
        found = within(timeout_s, lambda: socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no valid name"
        raise Trouble(
            f"the name {name} does not resolve: {reason}",
            f"Mend {source}, or start the process: a headless Service has no address while no pod is ready "
            "(kubectl get pods,endpointslices).",
        ) from None
    except TimeoutError:
        raise Trouble(
            f"the name {name} does not resolve within {timeout_s:g} s",
            "The DNS server does not answer: look at /etc/resolv.conf, CoreDNS, and the NetworkPolicy for port 53.",
        ) from None
    hosts = sorted({str(address[0]) for *_, address in found}, key=lambda host: (":" in host, host))
    loopback = [host for host in hosts if host == "::1" or host.startswith("127.")]
    if len(loopback) == len(hosts):
        hosts = hosts[:1]  # `localhost` is one process, which may listen on one family alone
    return [Endpoint(host, port, name) for host in hosts]
