"""Images built by the project's own script, and containers of them as restricted as in the chart."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = ("gateway", "retriever", "reranker", "generator", "cli", "dev")
MODEL_PROCESSES = ("retriever", "reranker", "generator")
SITE_PACKAGES = "opt/venv/lib/python3.11/site-packages"

CONTAINERS_CONF = "[containers]\ndefault_ulimits = []\npids_limit = 0\n"
"""Limits that podman asks for by default and that a test machine may not be able to grant."""

RESTRICTED = (
    *("--rm", "--read-only", "--read-only-tmpfs=false", "--network=none", "--cap-drop=all"),
    *("--security-opt=no-new-privileges", "--tmpfs=/tmp", "--tmpfs=/cache"),
)


def base() -> str:
    """The name of a slim Debian of this machine's own making."""
    made = subprocess.run([ROOT / "tests/images/base"], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout.strip()


def build(base: str, *processes: str, options: tuple[str, ...] = (), **environment: str) -> None:
    """Run `tools/images`. Raises RuntimeError with what it printed last."""
    command = [str(ROOT / "tools/images"), *processes, "--", *options]
    finished = subprocess.run(
        command, env=os.environ | {"BASE": base} | environment, capture_output=True, text=True, cwd=ROOT
    )
    if finished.returncode != 0:
        raise RuntimeError((finished.stdout + finished.stderr)[-3_000:])


def name_of(process: str, tag: str = "0.1.0") -> str:
    return f"localhost/trivium-{process}:{tag}"


def podman(*arguments: str, stdin: str | None = None) -> str:
    """What podman prints on standard output."""
    return subprocess.run(["podman", *arguments], check=True, capture_output=True, text=True, input=stdin).stdout


def inspect(image: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(podman("image", "inspect", image))[0]
    return described


def run(image: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A container with the command in place of its own, or with its own, to its end."""
    override = ("--entrypoint", command[0]) if command else ()
    settings = [f"--env={name}={value}" for name, value in environment.items()]
    arguments = ["podman", "--runtime=runc", "run", *RESTRICTED, *settings, *override, image, *command[1:]]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=600)


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def layer_with(image: str, path: str) -> str:
    """The digest of the one layer that brings a path."""
    described = inspect(image)
    lower = [place for place in described["GraphDriver"]["Data"].get("LowerDir", "").split(":") if place]
    directories = [*reversed(lower), described["GraphDriver"]["Data"]["UpperDir"]]
    digests = zip(described["RootFS"]["Layers"], directories, strict=True)
    (digest,) = [digest for digest, directory in digests if (Path(directory) / path).exists()]
    return str(digest)
