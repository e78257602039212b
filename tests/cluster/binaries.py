"""The cluster's programs, built from the modules that tools/*/go.mod pin and kept by their pins."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from tests.cluster.layout import HOME, ROOT

MODULES = ("kubernetes", "etcd", "containerd", "coredns")
"""Modules under tools/ that every cluster needs. KEDA is built when it is asked for."""

_MODULE_BY_PROGRAM = {
    "kube-apiserver": "kubernetes",
    "kube-controller-manager": "kubernetes",
    "kube-scheduler": "kubernetes",
    "kube-proxy": "kubernetes",
    "kubelet": "kubernetes",
    "kubectl": "kubernetes",
    "server": "etcd",
    "containerd": "containerd",
    "ctr": "containerd",
    "bridge": "containerd",
    "coredns": "coredns",
    "operator": "keda",
    "adapter": "keda",
}


@cache
def directory(module: str) -> Path:
    """Where the module's programs are kept: another place for other pins."""
    source = ROOT / "tools" / module
    pins = hashlib.sha256(b"".join((source / name).read_bytes() for name in ("go.mod", "go.sum")))
    return HOME / "bin" / f"{module}-{pins.hexdigest()[:12]}"


def program(name: str) -> Path:
    """A program that `build` has made."""
    return directory(_MODULE_BY_PROGRAM[name]) / name


def build(*modules: str) -> None:
    """Build the modules whose programs are not there. On two cores Kubernetes takes eight minutes."""
    for module in modules:
        subprocess.run([ROOT / "tools" / "build", module, directory(module)], check=True)


def source_of(module: str, path: str) -> Path:
    """The directory of a pinned dependency's source, in Go's module cache."""
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", path],
        cwd=ROOT / "tools" / module,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(found.stdout.strip())
