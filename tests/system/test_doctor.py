"""`trivium doctor` against running processes: all is well when all is well, and what is broken is found by name."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from chassis import checkpoint
from cli.processes import Process
from cli.system import System, clean_environment
from tests.installation import ROOT, Installation

QUESTION = "What happens when the reranker is down?"
ALL = ("gateway", "retriever", "indexer", "reranker", "generator")

Findings = dict[tuple[str, str], list[dict[str, str]]]


def doctor(*arguments: str, exit_status: int, settings: dict[str, str] | None = None) -> Findings:
    """What it found, by check and subject."""
    ran = subprocess.run(
        [sys.executable, "-m", "cli", "doctor", "--timeout", "10", *arguments, "--json"],
        cwd=ROOT,
        env=clean_environment() | (settings or {}),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == exit_status, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["ok"] == (exit_status == 0)
    found: Findings = {}
    for one in report["findings"]:
        found.setdefault((one["check"], one["subject"]), []).append(one)
    return found


def statuses(found: Findings, status: str) -> set[tuple[str, str]]:
    return {key for key, findings in found.items() if any(one["status"] == status for one in findings)}


def text_of(found: Findings, check: str, subject: str) -> str:
    return "\n".join(one["text"] for one in found[check, subject])


def addresses(trivium: Installation, **other: str) -> list[str]:
    """Options that name every process, some of them elsewhere."""
    named = {name: trivium.address(name) for name in ALL} | other
    return [part for name, address in named.items() for part in (f"--{name}", address)]


@contextmanager
def beside(folder: Path, process: str, collections: Path, **settings: str) -> Iterator[Process]:
    """One more process of that name, which the gateway does not know."""
    system = System(
        collections_path=collections,
        replicas={name: int(name == process) for name in ALL},
        settings={process: {"OMP_NUM_THREADS": "1", **settings}},
        logs_path=folder / "logs",
        device="cpu",
    )
    with system.processes() as processes:
        yield processes.all[0]


@pytest.mark.slow
def test_a_healthy_installation_passes_every_check(trivium: Installation) -> None:
    asked = ["--question", QUESTION, "--expect-source", "operations.md", "--answer-timeout", "60"]
    found = doctor(*addresses(trivium), *asked, exit_status=0)
    assert statuses(found, "skipped") == {("settings", "processes"), ("certificates", "TLS")}
    assert {key for key in found if key[0] == "address"} == {("address", name) for name in ALL}
    assert {key for key in found if key[0] == "clock"} == {("clock", name) for name in ALL}
    for stage in ("retriever", "reranker", "generator"):
        assert "1 of 1 answered the gateway's calls" in text_of(found, "replicas", stage)
    assert "as published" in text_of(found, "index", "retriever")
    assert "operations.md" in text_of(found, "question", "gateway")


@pytest.mark.slow
def test_the_gateways_own_environment_says_where_its_stages_are(trivium: Installation) -> None:
    gateway = trivium.processes.named("gateway")[0]
    settings = {name: value for name, value in gateway.environment.items() if name.startswith("GATEWAY_")}
    found = doctor(exit_status=0, settings=settings)
    assert statuses(found, "ok") >= {
        ("settings", "gateway"),
        *((check, name) for check in ("address", "clock") for name in ALL if name != "indexer"),
        *(("replicas", name) for name in ("retriever", "reranker", "generator")),
    }


@pytest.mark.slow
def test_another_answer_than_expected_fails(trivium: Installation) -> None:
    asked = ["--question", QUESTION, "--expect-source", "no-such-document.md"]
    found = doctor("--gateway", trivium.address("gateway"), *asked, exit_status=1)
    assert statuses(found, "failed") == {("question", "gateway")}
    assert "'no-such-document.md' is not cited" in text_of(found, "question", "gateway")


@pytest.mark.slow
def test_addresses_that_lead_astray_are_told_apart(trivium: Installation) -> None:
    astray = {
        "gateway": trivium.processes.named("gateway")[0].metrics_address,
        "reranker": trivium.address("generator"),
    }
    found = doctor(*addresses(trivium, **astray), exit_status=1)
    assert statuses(found, "failed") == {("address", "gateway"), ("address", "reranker")}
    assert "speaks no gRPC" in text_of(found, "address", "gateway")
    assert "is not the reranker" in text_of(found, "address", "reranker")


@pytest.mark.slow
def test_a_collection_that_is_not_there_fails(trivium: Installation) -> None:
    found = doctor(*addresses(trivium), "--collection", "absent", exit_status=1)
    assert statuses(found, "failed") == {("index", "indexer")}
    assert "no such collection (absent)" in text_of(found, "index", "indexer")


@pytest.mark.slow
@pytest.mark.chaos
def test_a_replica_is_missed_while_it_is_not_called_frozen_and_dead(trivium: Installation, tmp_path: Path) -> None:
    with beside(tmp_path, "reranker", tmp_path) as second:
        pair = addresses(trivium, reranker=f"ipv4:{trivium.address('reranker')},{second.address}")
        found = doctor(*pair, exit_status=1)
        assert statuses(found, "failed") == {("replicas", "reranker")}
        assert second.address.rpartition(":")[2] in text_of(found, "replicas", "reranker")

        second.send(signal.SIGSTOP)
        found = doctor(*pair, exit_status=1)
        second.send(signal.SIGCONT)
        assert statuses(found, "failed") == {("address", "reranker")}
        assert f"{second.address} takes the connection and says nothing" in text_of(found, "address", "reranker")

        second.kill()
        found = doctor(*pair, exit_status=1)
        assert statuses(found, "failed") == {("address", "reranker")}
        assert f"{second.address} refuses connections" in text_of(found, "address", "reranker")
        assert "1 of 2 addresses SERVING" in text_of(found, "address", "reranker")


@pytest.mark.slow
def test_a_retriever_with_another_encoder_than_the_index_fails(trivium: Installation, tmp_path: Path) -> None:
    shutil.copytree(checkpoint.find("embedded").path, tmp_path / "encoder")
    pooling = tmp_path / "encoder" / "1_Pooling" / "config.json"
    other_pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | other_pooling))
    model = {"RETRIEVER_MODEL": str(tmp_path / "encoder")}
    with beside(tmp_path, "retriever", trivium.folder / "collections", **model) as other:
        found = doctor("--retriever", other.address, "--indexer", trivium.address("indexer"), exit_status=1)
    assert statuses(found, "failed") == {("index", "retriever")}
    [failed] = [one for one in found["index", "retriever"] if one["status"] == "failed"]
    assert "the index was made by another encoder; " in failed["text"]
    assert "RETRIEVER_MODEL" in failed["advice"]


@pytest.mark.slow
def test_a_retriever_that_does_not_follow_the_indexer_fails(trivium: Installation, tmp_path: Path) -> None:
    """It reads a copy of the collections: a volume of its own, as two ReadWriteOnce claims would be."""
    shutil.copytree(trivium.folder / "collections", tmp_path / "collections")
    (tmp_path / "late.md").write_text("# Late\n\nThis document came after the copy was made.\n")
    with beside(tmp_path, "retriever", tmp_path / "collections") as other:
        trivium.ingest(tmp_path / "late.md")
        found = doctor("--retriever", other.address, "--indexer", trivium.address("indexer"), exit_status=1)
    assert statuses(found, "failed") == {("index", "retriever")}
    assert f"{other.address} serves " in text_of(found, "index", "retriever")


def test_a_gateway_with_mutual_tls_is_examined_from_its_own_container(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("trivium-gateway.trivium.svc")
    pems = {
        "CERTIFICATE": certificate.cert_chain_pems[0],
        "KEY": certificate.private_key_pem,
        "CA": authority.cert_pem,
    }
    for name, pem in pems.items():
        pem.write_to_path(tmp_path / f"{name}.pem")
    named = {f"GATEWAY_TLS_{name}_PATH": str(tmp_path / f"{name}.pem") for name in pems}
    with beside(tmp_path, "gateway", tmp_path, **named) as gateway:
        own = {name: value for name, value in gateway.environment.items() if name.startswith("GATEWAY_")}
        found = doctor(exit_status=1, settings=own)
        plain = doctor("--gateway", gateway.address, exit_status=1)
    checks = ("settings", "certificates", "address", "clock")
    assert statuses(found, "ok") == {(check, "gateway") for check in checks}
    assert text_of(found, "certificates", "gateway").startswith("for trivium-gateway.trivium.svc; ")
    assert text_of(found, "index", "retriever").startswith("the gateway: UNAVAILABLE: the retriever is out of reach")
    assert text_of(plain, "address", "gateway").endswith("speaks no gRPC that we understand")


def test_the_table_for_a_person_has_a_row_for_each_check(trivium: Installation) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "cli", "doctor", "--indexer", trivium.address("indexer")],
        cwd=ROOT,
        env=clean_environment() | {"COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout
    rows = [line.split() for line in ran.stdout.splitlines()]
    assert ["✓", "address", "indexer", trivium.address("indexer"), "SERVING"] in rows
    assert rows[-1] == ["3", "fine", "·", "7", "skipped"]
