"""What the images do when they run: as user 10001, on a read-only root, without a network."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from tests.images import engine

PORT_BY_PROCESS = {"gateway": 7200, "retriever": 7201, "reranker": 7203, "generator": 7204}


def probe(process: str) -> list[str]:
    """The command by which compose asks whether a process serves."""
    compose = yaml.safe_load((engine.ROOT / "compose.yaml").read_text())
    kind, *command = compose["services"][process]["healthcheck"]["test"]
    assert kind == "CMD"
    return [str(word) for word in command]


@pytest.mark.parametrize("process", PORT_BY_PROCESS)
def test_a_container_serves_and_composes_health_check_sees_it(images: dict[str, str], process: str) -> None:
    volume = ("--tmpfs=/collections:mode=1777",)
    container = engine.podman("--runtime=runc", "run", "--detach", *engine.RESTRICTED, *volume, images[process]).strip()
    try:
        give_up_at = time.monotonic() + 300
        while not (is_serving := engine.succeeds("podman", "exec", container, *probe(process))):
            assert time.monotonic() < give_up_at, engine.podman("logs", container)
            time.sleep(1)
        assert is_serving
    finally:
        engine.podman("stop", "--time=30", container)


def test_a_process_without_its_gpu_says_why_it_ends(images: dict[str, str]) -> None:
    finished = engine.run(images["reranker"], RERANKER_DEVICE="cuda:0")
    assert finished.returncode == 2
    last = json.loads((finished.stdout + finished.stderr).strip().splitlines()[-1])
    assert last["event"] == "refused to start"
    assert "cuda:0" in last["reason"]


@pytest.mark.parametrize("process", engine.PROCESSES)
def test_every_image_has_the_command(images: dict[str, str], process: str) -> None:
    assert "ingest" in engine.run(images[process], "trivium", "--help").stdout


@pytest.mark.parametrize("tool", ["grpcurl", "ghz"])
def test_jobs_have_what_they_call_and_load_with(images: dict[str, str], tool: str) -> None:
    assert engine.run(images["cli"], tool, "--version").returncode == 0


def test_the_notebook_runs_in_the_image(images: dict[str, str]) -> None:
    script = "cp -r /app/examples /tmp && cd /tmp/examples && jupyter execute --inplace ask.ipynb && cat ask.ipynb"
    finished = engine.run(images["dev"], "sh", "-c", script)
    assert finished.returncode == 0, finished.stderr
    assert "thirty-four knots" in finished.stdout


def test_the_notebook_opens_in_jupyterlab(images: dict[str, str]) -> None:
    container = engine.podman(
        "--runtime=runc", "run", "--detach", *engine.RESTRICTED, "--env=JUPYTER_TOKEN=secret", images["dev"]
    ).strip()
    reading = (
        "import json, urllib.request as request\n"
        "base = 'http://127.0.0.1:8888'\n"
        "assert b'JupyterLab' in request.urlopen(base + '/lab/tree/ask.ipynb?token=secret').read()\n"
        "model = json.load(request.urlopen(base + '/api/contents/ask.ipynb?token=secret'))\n"
        "assert model['type'] == 'notebook' and model['writable'], model\n"
    )
    try:
        give_up_at = time.monotonic() + 180
        while not engine.succeeds("podman", "exec", container, "python", "-c", reading):
            assert time.monotonic() < give_up_at, engine.podman("logs", container)
            time.sleep(1)
    finally:
        engine.podman("stop", "--time=10", container)
