"""One node of Kubernetes in a network namespace of its own, up and down."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster import binaries, control_plane, network, node
from tests.cluster.control_plane import kubectl
from tests.cluster.daemons import run, stop, wait_for
from tests.cluster.layout import LOGS, NODE, PKI, STATE

_DNS = Path(__file__).with_name("coredns.yaml")


def build() -> None:
    """Every program that the cluster needs and that is not there yet."""
    binaries.build(*binaries.MODULES)


def up() -> None:
    """A new cluster, whose node is Ready and whose DNS answers. One that runs is taken down first."""
    down()
    for folder in (LOGS, PKI, STATE / "cni", STATE / "run", STATE / "kubelet"):
        folder.mkdir(parents=True)
    network.create()
    control_plane.bring_up()
    node.bring_up()
    run(*kubectl("apply", "-f", str(_DNS)))
    wait_for("the node", *kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=2s"))
    wait_for("DNS", *kubectl("-n", "kube-system", "rollout", "status", "deploy/coredns", "--timeout=2s"))


def down() -> None:
    """End every process by its pid, and leave nothing behind but binaries."""
    for name in ("kube-scheduler", "kube-controller-manager"):
        stop(name)
    node.tear_down()
    for name in ("kube-apiserver", "etcd"):
        stop(name)
    network.remove()
    if STATE.exists():
        shutil.rmtree(STATE)


def is_up() -> bool:
    """Whether a cluster answers."""
    if not STATE.exists():
        return False
    return subprocess.run(kubectl("get", "--raw", "/readyz"), capture_output=True).returncode == 0
