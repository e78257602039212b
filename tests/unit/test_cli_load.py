"""`trivium load` sends at a steady rate with the real ghz, and names every limit that is broken."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from typer.testing import CliRunner

from cli.__main__ import app
from cli.ghz import Load, LoadFailed, Outcome, read_report, send
from cli.load import Limits, judge
from cli.system import free_ports
from trivium.v1 import gateway_pb2, gateway_pb2_grpc

CHAINED = "What is {{.RequestNumber}}?"
Act = Callable[[Any], object]


def at_once(context: Any) -> None:
    """Answer."""


class ScriptedGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Does the act, then answers; remembers the questions and how many were there at once."""

    def __init__(self, act: Act) -> None:
        self._act, self._lock, self._now = act, threading.Lock(), 0
        self.requests: list[gateway_pb2.AnswerRequest] = []
        self.most_at_once = 0

    def Answer(self, request: gateway_pb2.AnswerRequest, context: Any) -> gateway_pb2.AnswerResponse:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            self._act(context)
        finally:
            with self._lock:
                self._now -= 1
        return gateway_pb2.AnswerResponse(text="Yes.")

    def Explain(self, request: Any, context: Any) -> gateway_pb2.ExplainResponse:
        raise NotImplementedError

    def Search(self, request: Any, context: Any) -> gateway_pb2.SearchResponse:
        raise NotImplementedError

    def AnswerStream(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@contextmanager
def gateway(
    act: Act = at_once, credentials: grpc.ServerCredentials | None = None
) -> Iterator[tuple[str, ScriptedGateway]]:
    server, servicer = grpc.server(ThreadPoolExecutor(32)), ScriptedGateway(act)
    add: Any = gateway_pb2_grpc.add_GatewayServiceServicer_to_server
    add(servicer, server)
    port = (
        server.add_secure_port("localhost:0", credentials) if credentials else server.add_insecure_port("localhost:0")
    )
    server.start()
    try:
        yield f"localhost:{port}", servicer
    finally:
        server.stop(None).wait()


def run(address: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["load", "--gateway", address, "--question", "What?", *arguments])


def report_of(ran: Any) -> dict[str, Any]:
    """The object that `--json` printed. On a busy machine a short load may be sent too slowly, and say so."""
    report: dict[str, Any] = json.loads(ran.stdout)
    report["broken"] = [one for one in report["broken"] if one != "offered rate"]
    return report


@pytest.mark.slow
def test_a_load_within_its_limits_is_exit_status_zero() -> None:
    with gateway() as (address, servicer):
        ran = run(address, "--rps", "2", "--duration", "10", "--max-p50-ms", "9000", "--max-p99-ms", "9000")
    assert ran.exit_code == 0, ran.output
    assert len(servicer.requests) == 20
    assert {request.question for request in servicer.requests} == {"What?"}
    assert {request.search.collection for request in servicer.requests} == {"default"}


def test_questions_are_asked_in_turn_and_never_filled_in() -> None:
    with gateway() as (address, servicer):
        ran = run(address, "--question", CHAINED, "--rps", "10", "--duration", "1", "--json")
    assert report_of(ran)["statuses"] == {"OK": 10}
    asked = [request.question for request in servicer.requests]
    assert (asked.count("What?"), asked.count(CHAINED)) == (5, 5)


def test_the_next_question_does_not_wait_for_an_answer() -> None:
    with gateway(lambda context: time.sleep(4)) as (address, servicer):
        ran = run(address, "--rps", "10", "--duration", "1", "--timeout", "60", "--json")
    assert servicer.most_at_once == 10
    assert report_of(ran)["p50_ms"] > 3_900


def test_slow_answers_break_the_limits_by_name() -> None:
    with gateway(lambda context: time.sleep(0.2)) as (address, _):
        ran = run(address, "--rps", "10", "--duration", "1", "--max-p50-ms", "100", "--max-p99-ms", "60000", "--json")
    assert ran.exit_code == 1
    assert report_of(ran)["broken"] == ["p50"]


def test_failed_answers_break_the_limit_and_their_error_is_shown() -> None:
    with gateway(lambda context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")) as (address, _):
        ran = run(address, "--rps", "10", "--duration", "1", "--max-p99-ms", "60000")
    assert ran.exit_code == 1
    assert "10 × rpc error: code = ResourceExhausted desc = too much" in ran.stdout
    assert "failed is 100.00%, the limit at most 0.00%; p99 is –" in " ".join(ran.stdout.split())


def test_an_answer_that_takes_too_long_has_failed() -> None:
    with gateway(lambda context: time.sleep(2)) as (address, _):
        ran = run(address, "--rps", "5", "--duration", "1", "--timeout", "0.5", "--max-error-share", "0.5", "--json")
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["statuses"] == {"DeadlineExceeded": 5}


def test_a_gateway_that_is_not_there_fails_every_question() -> None:
    ran = run(f"127.0.0.1:{free_ports(1)[0]}", "--rps", "5", "--duration", "1", "--json")
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["error_share"] == 1.0


def test_a_load_goes_over_mutual_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server, client = authority.issue_cert("localhost"), authority.issue_cert("load")
    pair = (server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())
    pems = {"CERTIFICATE": client.cert_chain_pems[0], "KEY": client.private_key_pem, "CA": authority.cert_pem}
    for name, pem in pems.items():
        pem.write_to_path(tmp_path / name)
        monkeypatch.setenv(f"TRIVIUM_TLS_{name}_PATH", str(tmp_path / name))
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    with gateway(credentials=credentials) as (address, servicer):
        ran = run(address, "--rps", "5", "--duration", "1", "--json")
    assert report_of(ran)["statuses"] == {"OK": 5}
    assert len(servicer.requests) == 5


def test_a_part_of_the_tls_files_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVIUM_TLS_CA_PATH", "/ca.pem")
    ran = run("127.0.0.1:1")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("TRIVIUM_TLS_CERTIFICATE_PATH, TRIVIUM_TLS_KEY_PATH: ")


def test_a_rate_that_ghz_cannot_send_is_refused() -> None:
    ran = run("127.0.0.1:1", "--rps", "0.5")
    assert ran.exit_code == 2
    assert "--rps" in ran.stderr


def test_more_questions_than_a_run_may_send_are_refused() -> None:
    ran = run("127.0.0.1:1", "--rps", "1000", "--duration", "3600")
    assert ran.exit_code == 1
    assert "3,600,000 questions are more than 100,000" in ran.stderr


def test_without_ghz_the_user_is_told_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cli.ghz.TREE", tmp_path)
    with pytest.raises(LoadFailed, match="`make tools` builds it"):
        send(Load("127.0.0.1:1", ["What?"], 1, 1, 1), {"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no such flag >&2; exit 3", "ghz ended with 3: no such flag"),
        ("echo a banner", "ghz printed no report: a banner"),
        ("exit 0", "ghz printed no report: nothing at all"),
    ],
    ids=["a bad exit", "another program", "silence"],
)
def test_a_ghz_that_sends_nothing_is_no_load(tmp_path: Path, script: str, reason: str) -> None:
    (tmp_path / "ghz").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "ghz").chmod(0o755)
    with pytest.raises(LoadFailed, match=reason):
        send(Load("127.0.0.1:1", ["What?"], 1, 1, 1), {"PATH": str(tmp_path)})


def call(ended: str, latency_ms: float, status: str = "OK") -> dict[str, object]:
    error = "" if status == "OK" else "broken"
    return {"timestamp": ended, "latency": int(latency_ms * 1e6), "status": status, "error": error}


def test_the_offered_rate_is_that_of_sending_not_of_answering() -> None:
    """Sent at 10.0, 10.1 and 10.2 s; the first is answered last."""
    day = "2026-11-23T00:00:"
    calls = [
        call(f"{day}14.000000001Z", 4_000),
        call(f"{day}10.2Z", 100, "Unavailable"),
        call(f"{day}10.25+00:00", 50),
    ]
    outcome = read_report({"details": calls})
    assert outcome.offered_rps == pytest.approx(10, rel=1e-3)
    assert outcome.latencies_ms == [50, 4_000]
    assert outcome.error_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("latencies", "share", "percentile"),
    [
        pytest.param(range(1, 101), 0.99, 99, id="p99-of-100"),
        pytest.param(range(1, 101), 0.5, 50, id="p50-of-100"),
        pytest.param([7], 0.99, 7, id="one"),
        pytest.param([1, 2, 3], 0.99, 3, id="few"),
        pytest.param([], 0.5, None, id="none"),
    ],
)
def test_a_percentile_is_the_nearest_rank(latencies: Any, share: float, percentile: float | None) -> None:
    assert Outcome(100, 1.0, list(latencies), {}, {}).percentile_ms(share) == percentile


def test_a_share_that_is_just_the_limit_is_within_it() -> None:
    asked = Load("gateway:7000", ["What?"], rps=100, duration_s=1, timeout_s=1)
    outcome = Outcome(100, 100.0, [1.0] * 99, {"OK": 99, "Unavailable": 1}, {"broken": 1})
    assert all(verdict.is_met for verdict in judge(asked, Limits(max_error_share=0.01), outcome))


def test_a_sender_that_cannot_keep_the_rate_has_proved_nothing() -> None:
    asked = Load("gateway:7000", ["What?"], rps=100, duration_s=1, timeout_s=1)
    slow = Outcome(sent=100, offered_rps=60, latencies_ms=[1.0] * 100, count_by_status={"OK": 100}, errors={})
    assert [verdict.what for verdict in judge(asked, Limits(), slow) if not verdict.is_met] == ["offered rate"]
