"""What `trivium doctor` finds at an address, plain and over TLS. Real sockets and certificates."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from cli.__main__ import app
from cli.checks.address import examine_address
from cli.checks.check import Status
from cli.checks.network import Network
from cli.connection import open_channel
from cli.system import free_ports
from cli.tls import TlsFiles
from tests.unit.doctor import (
    IMPATIENT_S,
    NOT_SERVING,
    PLAIN,
    SERVING,
    failure_of,
    files,
    found_by,
    in_days,
    reranker_at,
    serving,
)


def test_an_address_that_serves_is_fine() -> None:
    with serving() as address:
        found = found_by(lambda: examine_address(reranker_at(f"dns:///{address}"), PLAIN))
    assert found == [(Status.OK, f"{address} SERVING")]


def test_a_port_without_a_listener_is_a_failure() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    failed = failure_of(lambda: examine_address(reranker_at(address), PLAIN))
    assert failed.text == f"{address} refuses connections: nothing listens there"


def test_a_process_that_still_loads_is_a_failure() -> None:
    with serving(NOT_SERVING) as address:
        failed = failure_of(lambda: examine_address(reranker_at(address), PLAIN))
    assert failed.text == f"{address} says NOT_SERVING"


def test_another_process_behind_an_address_is_a_failure() -> None:
    with serving(service="trivium.v1.GeneratorService") as address:
        failed = failure_of(lambda: examine_address(reranker_at(address), PLAIN))
    assert failed.text == f"{address} is not the reranker: it does not know trivium.v1.RerankerService"


def test_a_frozen_process_is_a_failure_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        failed = failure_of(lambda: examine_address(reranker_at(address), Network(IMPATIENT_S, tls=None)))
    assert failed.text == f"{address} takes the connection and says nothing for 1 s"
    assert time.monotonic() - began < 20


def test_one_dead_replica_among_three_is_named() -> None:
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    with serving() as first, serving() as second:
        place = reranker_at(f"ipv4:{first},{dead},{second}")
        found = found_by(lambda: examine_address(place, PLAIN))
    assert found == [
        (Status.FAILED, f"{dead} refuses connections: nothing listens there"),
        (Status.OK, f"2 of 3 addresses SERVING: {first}, {second}"),
    ]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def mutual(authority: trustme.CA, certificate: trustme.LeafCert) -> grpc.ServerCredentials:
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    return grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)


@contextmanager
def our_files(folder: Path, authority: trustme.CA, certificate: trustme.LeafCert) -> Iterator[Network]:
    with files(folder, authority, certificate) as environ:
        yield Network(PLAIN.timeout_s, TlsFiles.named("TRIVIUM", environ))


def test_mutual_tls_is_spoken(tmp_path: Path, authority: trustme.CA) -> None:
    with (
        serving(credentials=mutual(authority, authority.issue_cert("localhost"))) as address,
        our_files(tmp_path, authority, authority.issue_cert("doctor")) as network,
    ):
        target = address.replace("127.0.0.1", "localhost")
        found = found_by(lambda: examine_address(reranker_at(target), network))
    assert found == [(Status.OK, f"{target} → {address} SERVING")]


@pytest.mark.parametrize(
    ("name", "not_after", "text"),
    [
        pytest.param("other", in_days(9), "Hostname mismatch", id="name"),
        pytest.param("localhost", in_days(-1), "certificate has expired", id="expired"),
    ],
)
def test_a_peers_bad_certificate_is_a_failure(
    tmp_path: Path, authority: trustme.CA, name: str, not_after: datetime, text: str
) -> None:
    bad = authority.issue_cert(name, not_before=in_days(-9), not_after=not_after)
    with (
        serving(credentials=mutual(authority, bad)) as address,
        our_files(tmp_path, authority, authority.issue_cert("doctor")) as network,
    ):
        target = address.replace("127.0.0.1", "localhost")
        failed = failure_of(lambda: examine_address(reranker_at(target), network))
    assert "shows a certificate that is not accepted" in failed.text
    assert text in failed.text


def test_our_certificate_of_another_authority_is_a_failure(tmp_path: Path, authority: trustme.CA) -> None:
    with (
        serving(credentials=mutual(authority, authority.issue_cert("localhost"))) as address,
        our_files(tmp_path, authority, trustme.CA().issue_cert("doctor")) as network,
    ):
        target = address.replace("127.0.0.1", "localhost")
        failed = failure_of(lambda: examine_address(reranker_at(target), network))
    assert "ends the TLS handshake" in failed.text
    assert "refuses our certificate" in failed.advice


def test_a_process_that_is_frozen_before_the_handshake_is_not_taken_for_a_lost_packet(
    tmp_path: Path, authority: trustme.CA
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        our_files(tmp_path, authority, authority.issue_cert("doctor")) as network,
    ):
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        failed = failure_of(lambda: examine_address(reranker_at(address), Network(IMPATIENT_S, network.tls)))
    assert failed.text == f"{address} takes the connection and says nothing for 1 s"


def test_a_peer_that_hangs_up_on_our_handshake_is_not_taken_for_a_lost_route(
    tmp_path: Path, authority: trustme.CA
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        our_files(tmp_path, authority, authority.issue_cert("doctor")) as network,
    ):
        hanging_up = threading.Thread(target=lambda: listener.accept()[0].close())
        hanging_up.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        failed = failure_of(lambda: examine_address(reranker_at(address), network))
        hanging_up.join()
    assert failed.text.startswith(f"{address} ends the TLS handshake: ")


def test_a_plain_caller_of_a_tls_port_is_told_so(authority: trustme.CA) -> None:
    with serving(credentials=mutual(authority, authority.issue_cert("localhost"))) as address:
        failed = failure_of(lambda: examine_address(reranker_at(address), PLAIN))
    assert "TRIVIUM_TLS_CERTIFICATE_PATH" in failed.advice


def test_every_command_speaks_mutual_tls_where_the_files_are_named(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(credentials=mutual(authority, authority.issue_cert("localhost"))) as address,
        files(tmp_path, authority, authority.issue_cert("ingest")) as environ,
    ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with open_channel(address.replace("127.0.0.1", "localhost")) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == SERVING
        monkeypatch.delenv("TRIVIUM_TLS_KEY_PATH")
        run = CliRunner().invoke(app, ["search", "What?", "--gateway", address])
    assert run.exit_code == 1
    assert run.stderr == "TRIVIUM_TLS_KEY_PATH: TLS needs all three files, certificate, key and CA\n"
