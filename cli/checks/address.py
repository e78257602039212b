"""One address at a time: is it reached, does it speak TLS as we do, does its health service say SERVING."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.checks.check import Finding, Status, Trouble
from cli.checks.network import Network, on_each
from cli.checks.places import SERVICE_BY_PROCESS, Endpoint, Place
from cli.connection import Refusal
from cli.tls import TlsFiles

SERVING = health_pb2.HealthCheckResponse.SERVING
SHOWN_ADDRESSES = 4


def examine_address(place: Place, network: Network) -> Iterator[Finding]:
    """Every address behind a place, each by itself: reached, and SERVING."""
    endpoints = network.endpoints(place)
    troubles = on_each(lambda endpoint: _trouble_of(endpoint, place, network), endpoints)
    yield from (trouble.finding for trouble in troubles if trouble)
    serving = [endpoint.address for endpoint, trouble in zip(endpoints, troubles, strict=True) if not trouble]
    if serving:
        yield Finding(Status.OK, _serving(place, serving, len(endpoints)))


def _trouble_of(endpoint: Endpoint, place: Place, network: Network) -> Trouble | None:
    try:
        _connect(endpoint, place, network)
        with network.channel(endpoint) as channel:
            for service in ("", SERVICE_BY_PROCESS[place.process]):
                _require_serving(channel, endpoint, place.process, service, network)
    except Trouble as trouble:
        return trouble
    return None


def _connect(endpoint: Endpoint, place: Place, network: Network) -> None:
    try:
        with socket.create_connection((endpoint.host, endpoint.port), network.timeout_s) as connection:
            if network.tls:
                _shake_hands(connection, endpoint, network.tls, network.timeout_s)
    except TimeoutError:
        raise Trouble(
            f"{endpoint.address} does not take a connection within {network.timeout_s:g} s",
            "Packets are lost: look at NetworkPolicies and firewalls, and whether the machine is up.",
        ) from None
    except ConnectionRefusedError:
        raise Trouble(
            f"{endpoint.address} refuses connections: nothing listens there",
            "`trivium up` starts it; name other addresses as options."
            if place.is_default
            else f"Is the port right ({place.source}), and is the {place.process} up? Its log says why it ended. "
            f"{place.process.upper()}_LISTEN_ADDRESS must be more than loopback to be reached from elsewhere.",
        ) from None
    except OSError as error:
        raise Trouble(
            f"{endpoint.address} is not reached: {error.strerror or error}", "Look at routes and NetworkPolicies."
        ) from None


def _shake_hands(connection: socket.socket, endpoint: Endpoint, tls: TlsFiles, timeout_s: float) -> None:
    """Raises Trouble. A server that refuses our certificate closes the connection only after the handshake."""
    refused = "the connection is closed"
    try:
        secured = tls.context().wrap_socket(connection, server_hostname=endpoint.name)
        with secured:
            if _speaks(secured):
                return
    except ssl.SSLCertVerificationError as error:
        raise Trouble(
            f"{endpoint.address} shows a certificate that is not accepted: {error.verify_message}",
            f"Its certificate must be in date, carry the name {endpoint.name} and come from the CA in {tls.ca_path}.",
        ) from None
    except TimeoutError:
        raise _silence(endpoint, timeout_s) from None
    except ssl.SSLError as error:
        refused = (error.reason or str(error)).lower().replace("_", " ")
    except ConnectionError as error:
        refused = (error.strerror or str(error)).lower()
    raise Trouble(
        f"{endpoint.address} ends the TLS handshake: {refused}",
        f"It speaks no TLS, or refuses our certificate {tls.certificate_path}: both sides need one of the same CA.",
    )


def _speaks(secured: ssl.SSLSocket) -> bool:
    """A gRPC server begins with its settings. One that is slow to may still be well."""
    try:
        return bool(secured.recv(1))
    except TimeoutError:
        return True


def _require_serving(channel: grpc.Channel, endpoint: Endpoint, process: str, service: str, network: Network) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=network.timeout_s)
    except grpc.RpcError as error:
        raise _health_trouble(error, endpoint, process, network) from None
    if reply.status != SERVING:
        raise Trouble(
            f"{endpoint.address} says {health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}",
            f"The {process} is starting, draining or cannot load: its log says which. "
            "It reports SERVING after its model has run once.",
        )


def _health_trouble(error: grpc.RpcError, endpoint: Endpoint, process: str, network: Network) -> Trouble:
    refusal = Refusal.of(error)
    match refusal.code:
        case "NOT_FOUND":
            return Trouble(
                f"{endpoint.address} is not the {process}: it does not know {SERVICE_BY_PROCESS[process]}",
                "The address leads to another process: mend the port or the Service's selector.",
            )
        case "DEADLINE_EXCEEDED":
            return _silence(endpoint, network.timeout_s)
        case "UNAVAILABLE":
            tls = "" if network.tls else ", or it wants TLS: set TRIVIUM_TLS_CERTIFICATE_PATH, _KEY_PATH and _CA_PATH"
            return Trouble(
                f"{endpoint.address} takes the connection and speaks no gRPC that we understand",
                f"The port may be another one of the {process} (metrics are HTTP){tls}.",
            )
    return Trouble(f"{endpoint.address} answers its health check with {refusal.line}", "Is this Trivium's gRPC port?")


def _silence(endpoint: Endpoint, timeout_s: float) -> Trouble:
    return Trouble(
        f"{endpoint.address} takes the connection and says nothing for {timeout_s:g} s",
        "The process is frozen or starved of CPU: look at its log, its CPU limit and its event-loop lag.",
    )


def _serving(place: Place, addresses: Sequence[str], num_all: int) -> str:
    shown = ", ".join(addresses[:SHOWN_ADDRESSES])
    more = f" and {len(addresses) - SHOWN_ADDRESSES} more" if len(addresses) > SHOWN_ADDRESSES else ""
    if len(addresses) < num_all:
        return f"{len(addresses)} of {num_all} addresses SERVING: {shown}{more}"
    name = "" if addresses[0] in place.target else f"{place.target} → "
    return f"{name}{shown}{more} {'each ' if num_all > 1 else ''}SERVING"
