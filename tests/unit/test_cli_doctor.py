"""`trivium doctor` finds what is wrong, says what to do, and never hangs."""

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.checks.check import Check, Finding, Status
from cli.checks.plan import Order, checks
from cli.system import clean_environment, free_ports
from tests.unit.doctor import failure_of, serving


def test_a_check_that_hangs_is_given_up() -> None:
    def hang() -> Iterator[Finding]:
        yield Finding(Status.OK, "this much was found")
        threading.Event().wait()

    began = time.monotonic()
    first, second = Check("a", "b", hang, limit_s=0.2).run()
    assert time.monotonic() - began < 20
    assert (second.status, second.text) == (Status.FAILED, "no outcome within 0.2 s")
    assert first.text == "this much was found"


def test_a_check_that_breaks_has_failed() -> None:
    def break_off() -> Iterator[Finding]:
        raise ZeroDivisionError("oops")

    assert failure_of(break_off).text == "ZeroDivisionError: oops"


def test_a_check_outlasts_the_time_limits_of_what_it_does() -> None:
    addresses = dict.fromkeys(("gateway", "retriever", "indexer", "reranker", "generator"), "127.0.0.1:1")
    order = Order(addresses, question="What?", timeout_s=60, answer_timeout_s=500)
    limits = {check.name: check.limit_s for check in checks(order, {})}
    assert all(limits[name] > 6 * 60 for name in ("address", "clock", "replicas", "index"))
    assert limits["question"] > 500


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
    assert fine == {(check, "reranker") for check in ("settings", "device", "models", "address", "clock")}
