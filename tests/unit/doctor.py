"""What tests of `trivium doctor` share: servers to look at, files to read, and what a check found."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis.health import CLOCK_KEY
from cli.checks.check import Check, Finding, Status
from cli.checks.network import Network
from cli.checks.places import Place

PLAIN = Network(timeout_s=20.0, tls=None)
IMPATIENT_S = 1.0
"""For what is never answered."""
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def reranker_at(target: str) -> Place:
    return Place("reranker", target, "--reranker")


def found_by(examine: Callable[[], Iterator[Finding]]) -> list[tuple[Status, str]]:
    return [(one.status, one.text) for one in Check("a", "b", examine).run()]


def failure_of(examine: Callable[[], Iterator[Finding]]) -> Finding:
    """The one failure; it always says what to do."""
    [failed] = [one for one in Check("a", "b", examine).run() if one.status is Status.FAILED]
    assert failed.advice
    return failed


@contextmanager
def files(folder: Path, authority: trustme.CA, certificate: trustme.LeafCert) -> Iterator[dict[str, str]]:
    environ = {f"TRIVIUM_TLS_{what}_PATH": str(folder / f"{what}.pem") for what in ("CERTIFICATE", "KEY", "CA")}
    certificate.cert_chain_pems[0].write_to_path(folder / "CERTIFICATE.pem")
    certificate.private_key_pem.write_to_path(folder / "KEY.pem")
    authority.cert_pem.write_to_path(folder / "CA.pem")
    yield environ


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


class Servicer(health.HealthServicer):
    """Health as a process of ours tells it, with a clock that is so far ahead."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__()
        self._ahead_s = ahead_s

    def Check(self, request: Any, context: Any) -> Any:
        context.set_trailing_metadata(((CLOCK_KEY, str(round((time.time() + self._ahead_s) * 1e3))),))
        return super().Check(request, context)


@contextmanager
def serving(
    status: Any = SERVING,
    service: str = "trivium.v1.RerankerService",
    register: Callable[[grpc.Server], object] = lambda server: None,
    credentials: grpc.ServerCredentials | None = None,
    servicer: health.HealthServicer | None = None,
) -> Iterator[str]:
    """A gRPC server with a health service, by default one like ours."""
    server, servicer = grpc.server(ThreadPoolExecutor(4)), servicer or Servicer(ahead_s=0)
    for name in ("", service):
        servicer.set(name, status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    register(server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
