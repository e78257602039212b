"""`trivium doctor` finds what is wrong, says what to do, and never hangs. Real sockets, files and certificates."""

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from cli.__main__ import app
from cli.checks.certificates import examine_certificates
from cli.checks.check import Check, Finding, Status, Trouble
from cli.checks.clocks import examine_clock, offset_s
from cli.checks.local import examine_device, examine_models, examine_settings
from cli.checks.network import Network, examine_address
from cli.checks.places import Place, find_metrics, find_places, resolve
from cli.checks.question import examine_question
from cli.checks.replicas import examine_replicas
from cli.connection import open_channel
from cli.system import clean_environment, free_ports
from cli.tls import TlsFiles
from trivium.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    generator_pb2,
    passage_pb2,
    reranker_pb2,
    reranker_pb2_grpc,
    retriever_pb2,
)

PLAIN = Network(timeout_s=2.0, tls=None)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def reranker_at(target: str) -> Place:
    return Place("reranker", target, "--reranker")


def found_by(examine: Callable[[], Iterator[Finding]]) -> list[tuple[Status, str]]:
    return [(one.status, one.text) for one in Check("a", "b", examine).run()]


def failure_of(examine: Callable[[], Iterator[Finding]]) -> Finding:
    """The one failure; it always says what to do."""
    [failed] = [one for one in Check("a", "b", examine).run() if one.status is Status.FAILED]
    assert failed.advice
    return failed


# --- a check ---------------------------------------------------------------------------------------------------


def test_a_check_that_hangs_is_given_up() -> None:
    def hang() -> Iterator[Finding]:
        yield Finding(Status.OK, "this much was found")
        threading.Event().wait()

    began = time.monotonic()
    first, second = Check("a", "b", hang, limit_s=0.2).run()
    assert time.monotonic() - began < 5
    assert (second.status, second.text) == (Status.FAILED, "no outcome within 0.2 s")
    assert first.text == "this much was found"


def test_a_check_that_breaks_has_failed() -> None:
    def break_off() -> Iterator[Finding]:
        raise ZeroDivisionError("oops")

    assert failure_of(break_off).text == "ZeroDivisionError: oops"


# --- where things are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        pytest.param("127.0.0.1:7003", ["127.0.0.1:7003"], id="address"),
        pytest.param("localhost:7003", ["127.0.0.1:7003"], id="name"),
        pytest.param("dns:///localhost:7003", ["127.0.0.1:7003"], id="dns"),
        pytest.param("dns://8.8.8.8/127.0.0.1:7003", ["127.0.0.1:7003"], id="dns-with-server"),
        pytest.param("ipv4:127.0.0.1:1,127.0.0.2:2", ["127.0.0.1:1", "127.0.0.2:2"], id="list"),
        pytest.param("ipv4:127.0.0.1:1,127.0.0.1:1", ["127.0.0.1:1"], id="doubles"),
        pytest.param("[::1]:7003", ["[::1]:7003"], id="ipv6"),
    ],
)
def test_a_target_is_taken_apart_as_grpc_does(target: str, addresses: list[str]) -> None:
    assert [endpoint.address for endpoint in resolve(target, "--reranker", 5)] == addresses


@pytest.mark.parametrize("target", ["localhost", "dns:///localhost", "unix:///tmp/socket", "a:b", ""])
def test_a_target_that_is_none_is_refused_by_the_name_of_its_setting(target: str) -> None:
    with pytest.raises(Trouble) as refused:
        resolve(target, "GATEWAY_RERANKER_ADDRESS", 5)
    assert "GATEWAY_RERANKER_ADDRESS" in refused.value.finding.advice


def test_a_name_that_is_not_there_is_said_to_be_not_there() -> None:
    with pytest.raises(Trouble, match=r"the name reranker\.invalid does not resolve"):
        resolve("dns:///reranker.invalid:7003", "--reranker", 20)


def test_every_address_behind_a_name_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"10.0.0.{last}", 7003)) for last in (2, 1)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    found = resolve("dns:///trivium-reranker:7003", "--reranker", 5)
    assert [(one.address, one.name) for one in found] == [
        ("10.0.0.1:7003", "trivium-reranker"),
        ("10.0.0.2:7003", "trivium-reranker"),
    ]


def test_without_a_word_the_addresses_of_up_are_looked_at() -> None:
    places = find_places({}, {})
    assert {name: place.target for name, place in places.items()} == {
        "gateway": "127.0.0.1:7000",
        "retriever": "127.0.0.1:7001",
        "indexer": "127.0.0.1:7002",
        "reranker": "127.0.0.1:7003",
        "generator": "127.0.0.1:7004",
    }
    assert find_metrics([], places, {})["generator"].target == "127.0.0.1:7104"


def test_in_the_gateways_container_its_stages_are_known() -> None:
    environ = {
        "GATEWAY_LISTEN_ADDRESS": "0.0.0.0:7000",
        "GATEWAY_METRICS_ADDRESS": "[::]:7100",
        "GATEWAY_RERANKER_ADDRESS": "dns:///trivium-reranker:7003",
    }
    places = find_places({"indexer": "indexer:7002"}, environ)
    assert {name: place.target for name, place in places.items()} == {
        "gateway": "127.0.0.1:7000",
        "indexer": "indexer:7002",
        "reranker": "dns:///trivium-reranker:7003",
    }
    assert {name: place.target for name, place in find_metrics([], places, environ).items()} == {
        "gateway": "[::1]:7100"
    }


def test_options_win_over_settings() -> None:
    environ = {"GATEWAY_RERANKER_ADDRESS": "dns:///trivium-reranker:7003"}
    assert find_places({"reranker": "other:7003"}, environ)["reranker"].target == "other:7003"


# --- this container --------------------------------------------------------------------------------------------


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant() -> None:
    environ = clean_environment() | {"RERANKER_MAX_CANDIDATE": "10"}
    failed = failure_of(lambda: examine_settings("reranker", environ))
    assert failed.text == "RERANKER_MAX_CANDIDATE: unknown setting, did you mean RERANKER_MAX_CANDIDATES?"


def test_good_settings_are_counted() -> None:
    environ = clean_environment() | {"INDEXER_MAX_PASSAGE_TOKENS": "100", "INDEXER_DEVICE": "cpu"}
    assert found_by(lambda: examine_settings("indexer", environ)) == [
        (Status.OK, "2 variables, all known and well-formed")
    ]


def test_a_gpu_that_is_not_there_is_a_failure() -> None:
    failed = failure_of(lambda: examine_device("reranker", {"RERANKER_DEVICE": "cuda:99"}))
    assert "cuda:99" in failed.text
    assert "RERANKER_DEVICE=cpu" in failed.advice


def test_the_cpu_is_a_device() -> None:
    [(status, text)] = found_by(lambda: examine_device("reranker", {"RERANKER_DEVICE": "cpu", "OMP_NUM_THREADS": "3"}))
    assert (status, text) == (Status.OK, "cpu, 3 threads (set to cpu)")


def test_the_embedded_weights_are_the_official_ones() -> None:
    assert found_by(lambda: examine_models("reranker", {})) == [
        (Status.OK, "embedded: sha256 53aa51172d14…, the official weights")
    ]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(tmp_path.iterdir())]
    (tmp_path / "model.sha256").write_text("".join(sums))
    return tmp_path


def test_a_model_is_held_to_its_sums(model: Path) -> None:
    [(status, text)] = found_by(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert status is Status.OK
    assert text.endswith("as model.sha256 says")


def test_a_damaged_file_of_a_model_is_named(model: Path) -> None:
    (model / "config.json").write_text("{ }")
    failed = failure_of(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert failed.text == f"{model / 'config.json'} is not the file that {model / 'model.sha256'} describes"


def test_a_missing_file_of_a_model_is_named(model: Path) -> None:
    (model / "config.json").unlink()
    failed = failure_of(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert failed.text.startswith(f"{model / 'config.json'} is missing")


def test_a_model_without_safetensors_is_a_failure(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    failed = failure_of(lambda: examine_models("reranker", {"RERANKER_MODEL": str(model)}))
    assert "only safetensors load" in failed.text


def test_a_volume_that_is_not_mounted_is_a_failure() -> None:
    failed = failure_of(lambda: examine_models("generator", {"GENERATOR_MODEL": "/models/absent"}))
    assert "/models/absent" in failed.text


# --- certificates ----------------------------------------------------------------------------------------------


@contextmanager
def files(folder: Path, authority: trustme.CA, certificate: trustme.LeafCert) -> Iterator[dict[str, str]]:
    environ = {f"TRIVIUM_TLS_{what}_PATH": str(folder / f"{what}.pem") for what in ("CERTIFICATE", "KEY", "CA")}
    certificate.cert_chain_pems[0].write_to_path(folder / "CERTIFICATE.pem")
    certificate.private_key_pem.write_to_path(folder / "KEY.pem")
    authority.cert_pem.write_to_path(folder / "CA.pem")
    yield environ


def certificate_findings(environ: dict[str, str]) -> list[Finding]:
    return Check("certificates", "trivium", lambda: examine_certificates("TRIVIUM", environ)).run()


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_good_certificate_is_described(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("trivium", "127.0.0.1", not_after=in_days(30.5))
    with files(tmp_path, authority, certificate) as environ:
        [fine] = certificate_findings(environ)
    assert fine.status is Status.OK
    assert fine.text.startswith("for trivium, 127.0.0.1; issued by ")
    assert fine.text.endswith("; 30 days left")


def test_an_expired_certificate_is_a_failure(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("trivium", not_before=in_days(-9), not_after=in_days(-1))
    with files(tmp_path, authority, certificate) as environ:
        [failed] = certificate_findings(environ)
    assert failed.status is Status.FAILED
    assert f"CERTIFICATE.pem expired on {in_days(-1):%Y-%m-%d}" in failed.text


def test_a_certificate_that_ends_within_14_days_is_a_warning(tmp_path: Path) -> None:
    authority = trustme.CA()
    with files(tmp_path, authority, authority.issue_cert("trivium", not_after=in_days(13.5))) as environ:
        warning, fine = certificate_findings(environ)
    assert (warning.status, fine.status) == (Status.WARNING, Status.OK)
    assert warning.text.endswith("in 13 days")


def test_a_key_of_another_certificate_is_a_failure(tmp_path: Path) -> None:
    authority = trustme.CA()
    with files(tmp_path, authority, authority.issue_cert("trivium")) as environ:
        authority.issue_cert("trivium").private_key_pem.write_to_path(tmp_path / "KEY.pem")
        [failed] = certificate_findings(environ)
    assert "KEY.pem is not the key of" in failed.text


def test_a_certificate_of_another_authority_is_a_failure(tmp_path: Path) -> None:
    with files(tmp_path, trustme.CA(organization_name="ours"), trustme.CA().issue_cert("trivium")) as environ:
        [failed] = certificate_findings(environ)
    assert failed.status is Status.FAILED
    assert "was not issued by a CA of" in failed.text
    assert "O=ours" in failed.text


def test_a_certificate_below_an_intermediate_authority_is_fine(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.create_child_ca().issue_cert("trivium")
    with files(tmp_path, authority, certificate) as environ:
        Path(environ["TRIVIUM_TLS_CERTIFICATE_PATH"]).write_bytes(
            b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        )
        assert [one.status for one in certificate_findings(environ)] == [Status.OK]


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        pytest.param(lambda path: path.unlink(), "No such file or directory", id="absent"),
        pytest.param(lambda path: path.write_text("none"), "holds no certificate in PEM", id="no-pem"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, damage: Callable[[Path], object], text: str) -> None:
    authority = trustme.CA()
    with files(tmp_path, authority, authority.issue_cert("trivium")) as environ:
        damage(tmp_path / "CA.pem")
        [failed] = certificate_findings(environ)
    assert failed.status is Status.FAILED
    assert "CA.pem" in failed.text
    assert text in failed.text


def test_one_file_of_three_is_a_failure() -> None:
    [failed] = certificate_findings({"TRIVIUM_TLS_CA_PATH": "/ca.pem"})
    assert failed.text.startswith("TRIVIUM_TLS_CERTIFICATE_PATH, TRIVIUM_TLS_KEY_PATH: ")


# --- addresses -------------------------------------------------------------------------------------------------


class ScriptedReranker(reranker_pb2_grpc.RerankerServiceServicer):
    """Says who it is."""

    def __init__(self, replica: str) -> None:
        self.replica = replica

    def Rerank(self, request: reranker_pb2.RerankRequest, context: Any) -> reranker_pb2.RerankResponse:
        return reranker_pb2.RerankResponse(stats=passage_pb2.StageStats(stage="reranker", replica=self.replica))


@contextmanager
def serving(
    status: Any = SERVING,
    service: str = "trivium.v1.RerankerService",
    register: Callable[[grpc.Server], object] = lambda server: None,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[str]:
    """A gRPC server with a health service."""
    server, servicer = grpc.server(ThreadPoolExecutor(4)), health.HealthServicer()
    for name in ("", service):
        servicer.set(name, status)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    register(server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def reranker(replica: str) -> Callable[[grpc.Server], object]:
    add: Any = reranker_pb2_grpc.add_RerankerServiceServicer_to_server
    return lambda server: add(ScriptedReranker(replica), server)


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
        failed = failure_of(lambda: examine_address(reranker_at(address), PLAIN))
    assert failed.text == f"{address} takes the connection and says nothing for 2 s"
    assert time.monotonic() - began < 10


def test_one_dead_replica_among_three_is_named() -> None:
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    with serving() as first, serving() as second:
        place = reranker_at(f"ipv4:{first},{dead},{second}")
        found = found_by(lambda: examine_address(place, PLAIN))
    assert found == [
        (Status.FAILED, f"{dead} refuses connections: nothing listens there"),
        (Status.OK, f"2 of 3 addresses SERVING: {first}, {second}"),
    ]


# --- TLS -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def mutual(authority: trustme.CA, certificate: trustme.LeafCert) -> grpc.ServerCredentials:
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    return grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)


@contextmanager
def our_files(folder: Path, authority: trustme.CA, certificate: trustme.LeafCert) -> Iterator[Network]:
    with files(folder, authority, certificate) as environ:
        yield Network(timeout_s=2.0, tls=TlsFiles.named("TRIVIUM", environ))


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


# --- clocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "offset"),
    [
        pytest.param(100, 0, id="same-second"),
        pytest.param(99, -0.3, id="the-second-before"),
        pytest.param(95, -4.3, id="behind"),
        pytest.param(107, 6.6, id="ahead"),
    ],
)
def test_a_date_in_whole_seconds_is_read_kindly(theirs: float, offset: float) -> None:
    assert offset_s(theirs, before=100.3, after=100.4) == pytest.approx(offset)


@contextmanager
def clock(ahead_s: float) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + ahead_s, usegmt=True)

        def log_message(self, format: str, *values: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_clock_like_ours_is_fine() -> None:
    with clock(0) as address:
        [(status, _)] = found_by(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert status is Status.OK


@pytest.mark.parametrize(("ahead_s", "words"), [(60, "ahead of us"), (-60, "behind us")])
def test_a_clock_that_is_off_is_a_failure(ahead_s: float, words: str) -> None:
    with clock(ahead_s) as address:
        failed = failure_of(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert failed.text.startswith(address)
    assert failed.text.endswith(words)


def test_a_port_that_speaks_no_http_has_no_clock() -> None:
    with serving() as address:
        failed = failure_of(lambda: examine_clock(Place("", address, "--metrics"), PLAIN))
    assert failed.text.startswith(f"{address} shows no /metrics")


# --- round robin and a question --------------------------------------------------------------------------------


def good_answer() -> gateway_pb2.AnswerResponse:
    text = "On SIGTERM a process drains."
    passage = passage_pb2.Passage(passage_id="a#0", document_id="a", uri="file:///docs/operations.md", text=text)
    return gateway_pb2.AnswerResponse(
        text=f"{text} [1]",
        sources=[gateway_pb2.Source(number=1, passage=passage)],
        quotes=[generator_pb2.Quote(passage_id="a#0", text=text)],
        reason=generator_pb2.FINISH_REASON_STOP,
        kind=generator_pb2.ANSWER_KIND_EXTRACTIVE,
        report=gateway_pb2.Report(
            trace_id=TRACE_ID,
            stages=[passage_pb2.StageStats(stage=one, replica=f"{one}-0") for one in ("retriever", "reranker")]
            + [passage_pb2.StageStats(stage="generator", replica="generator-0")],
        ),
    )


class ScriptedGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Gives one answer; its searches are reranked by the replicas in turn."""

    def __init__(self, answer: gateway_pb2.AnswerResponse, replicas: list[str], trace_id: str = TRACE_ID) -> None:
        self._answer, self._replicas, self._trace_id = answer, replicas, trace_id

    def Answer(self, request: Any, context: Any) -> gateway_pb2.AnswerResponse:
        context.set_trailing_metadata((("trace_id", self._trace_id),))
        return self._answer

    def Search(self, request: Any, context: Any) -> gateway_pb2.SearchResponse:
        self._replicas.append(self._replicas.pop(0))
        stage = passage_pb2.StageStats(stage="reranker", replica=self._replicas[-1])
        return gateway_pb2.SearchResponse(report=gateway_pb2.Report(stages=[stage]))

    def AnswerStream(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@contextmanager
def gateway(
    answer: gateway_pb2.AnswerResponse | None = None, *replicas: str, trace_id: str = TRACE_ID
) -> Iterator[Place]:
    add: Any = gateway_pb2_grpc.add_GatewayServiceServicer_to_server
    servicer = ScriptedGateway(answer or good_answer(), list(replicas), trace_id)
    with serving(service="trivium.v1.GatewayService", register=lambda server: add(servicer, server)) as address:
        yield Place("gateway", address, "--gateway")


@contextmanager
def two_rerankers() -> Iterator[Place]:
    with ExitStack() as stack:
        addresses = [stack.enter_context(serving(register=reranker(name))) for name in ("one:7003", "two:7003")]
        yield reranker_at(f"ipv4:{','.join(addresses)}")


def test_replicas_that_all_answer_are_fine() -> None:
    with two_rerankers() as rerankers, gateway(None, "one:7003", "two:7003") as front:
        found = found_by(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    assert found == [(Status.OK, "2 of 2 answered the gateway's calls: one:7003 2, two:7003 2")]


def test_a_replica_that_the_gateway_never_calls_is_a_failure() -> None:
    with two_rerankers() as rerankers, gateway(None, "one:7003") as front:
        failed = failure_of(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    second = rerankers.target.partition(",")[2]
    assert failed.text == f"never called by the gateway: two:7003 at {second} (calls answered by: one:7003 40)"


def test_a_replica_that_nobody_named_is_a_warning() -> None:
    with two_rerankers() as rerankers, gateway(None, "one:7003", "two:7003", "three:7003") as front:
        warning, fine = found_by(lambda: examine_replicas(rerankers, front, "default", PLAIN))
    assert (warning[0], fine[0]) == (Status.WARNING, Status.OK)
    assert "also answered by three:7003" in warning[1]


def asked(front: Place, expected: str = "") -> Callable[[], Iterator[Finding]]:
    return lambda: examine_question(front, "What happens on SIGTERM?", expected, "default", 5.0, PLAIN)


def test_a_good_answer_is_fine_in_every_respect() -> None:
    with gateway() as front:
        found = found_by(asked(front, "operations.md"))
    assert {status for status, _ in found} == {Status.OK}
    assert [text for _, text in found][1:] == [
        "cites file:///docs/operations.md",
        f"trace {TRACE_ID}",
        "retriever retriever-0 → reranker reranker-0 → generator generator-0",
    ]


def test_an_abstention_is_an_answer() -> None:
    answer = good_answer()
    answer.reason, answer.text = generator_pb2.FINISH_REASON_ABSTAINED, ""
    answer.kind = generator_pb2.ANSWER_KIND_UNSPECIFIED
    del answer.quotes[:], answer.report.stages[2:]
    with gateway(answer) as front:
        found = found_by(asked(front))
    assert {status for status, _ in found} == {Status.OK}
    assert "abstained" in found[0][1]


def empty(answer: gateway_pb2.AnswerResponse) -> None:
    answer.text = " "


def uncited(answer: gateway_pb2.AnswerResponse) -> None:
    answer.text = "On SIGTERM a process drains."
    del answer.quotes[:]


def degraded(answer: gateway_pb2.AnswerResponse) -> None:
    answer.report.degraded.append(retriever_pb2.DEGRADATION_RERANK_SKIPPED)


def silent_stage(answer: gateway_pb2.AnswerResponse) -> None:
    del answer.report.stages[1]


def other_trace(answer: gateway_pb2.AnswerResponse) -> None:
    answer.report.trace_id = "0" * 32


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (empty, "the answer is empty (STOP)"),
        (uncited, "no passage is cited"),
        (degraded, "degraded: DEGRADATION_RERANK_SKIPPED"),
        (silent_stage, "no word from the reranker"),
        (other_trace, f"the answer reports trace '{'0' * 32}', its trailing metadata {TRACE_ID}"),
    ],
)
def test_what_an_answer_lacks_is_a_failure(spoil: Callable[[gateway_pb2.AnswerResponse], None], text: str) -> None:
    answer = good_answer()
    spoil(answer)
    with gateway(answer) as front:
        assert failure_of(asked(front)).text == text


def test_an_answer_without_a_trace_id_is_a_failure() -> None:
    with gateway(trace_id="abc") as front:
        assert failure_of(asked(front)).text == "the trailing metadata's trace id is 'abc'"


def test_another_source_than_the_expected_one_is_a_failure() -> None:
    with gateway() as front:
        failed = failure_of(asked(front, "README.md"))
    assert failed.text == "'README.md' is not cited, but file:///docs/operations.md"


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of Trivium in the environment."""
    for name in os.environ:
        if name.startswith("TRIVIUM_") or name not in clean_environment():
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("bare")
def test_json_is_one_object_and_a_failure_is_exit_status_one() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    run = CliRunner().invoke(app, ["doctor", "--reranker", address, "--json"])
    assert run.exit_code == 1
    report = json.loads(run.stdout)
    assert report["ok"] is False
    [failed] = [one for one in report["findings"] if one["status"] == "failed"]
    assert (failed["check"], failed["subject"]) == ("address", "reranker")
    skipped = {(one["check"], one["subject"]): one["text"] for one in report["findings"] if one["status"] == "skipped"}
    assert skipped["question", "gateway"] == "none was given: --question TEXT"


@pytest.mark.usefixtures("bare")
def test_a_check_whose_ground_is_gone_is_skipped_and_says_so() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    run = CliRunner().invoke(app, ["doctor", "--gateway", address, "--question", "What?"])
    assert run.exit_code == 1
    lines = {tuple(line.split()[1:3]): line for line in run.stdout.splitlines() if line.strip()}
    assert "needs the check above: address of gateway" in lines["question", "gateway"]
    assert "1 failed" in run.stdout


@pytest.mark.usefixtures("bare")
def test_a_process_checks_its_own_container(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as address:
        monkeypatch.setenv("RERANKER_LISTEN_ADDRESS", address.replace("127.0.0.1", "0.0.0.0"))
        monkeypatch.setenv("RERANKER_DEVICE", "cpu")
        run = CliRunner().invoke(app, ["doctor", "--json"])
    assert run.exit_code == 0, run.stdout
    fine = {(one["check"], one["subject"]) for one in json.loads(run.stdout)["findings"] if one["status"] == "ok"}
    assert fine == {(check, "reranker") for check in ("settings", "device", "models", "address")}
