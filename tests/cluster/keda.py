"""KEDA's operator and metrics server, from its own manifests and images of its own programs."""

from __future__ import annotations

import re
import subprocess

from tests.cluster import binaries, images
from tests.cluster.binaries import program
from tests.cluster.control_plane import kubectl
from tests.cluster.daemons import run, wait_for

_REPLACEMENTS = (
    (r"image: \S*keda-metrics-apiserver\S*", "image: localhost/keda-adapter:1"),
    (r"image: \S*/keda:\S*", "image: localhost/keda:1"),
    ("imagePullPolicy: Always", "imagePullPolicy: Never"),
)


def deploy() -> None:
    """Build it (six minutes once, on two cores), deploy it, and wait until the HPA can ask it."""
    binaries.build("keda")
    operator = images.of_program("keda", program("operator"), user=1000)
    adapter = images.of_program("keda-adapter", program("adapter"), user=1000)
    images.load(operator, adapter)
    subprocess.run(kubectl("create", "namespace", "keda"), capture_output=True)
    apply = kubectl("apply", "--server-side", "-f", "-")
    subprocess.run(apply, input=_manifests(), text=True, check=True, capture_output=True)
    wait_for("KEDA's operator", *kubectl("-n", "keda", "rollout", "status", "deploy/keda-operator", "--timeout=2s"))
    wait_for("KEDA's metrics", *kubectl("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1"))


def _manifests() -> str:
    """KEDA's minimal manifests, with the images made here."""
    source = binaries.source_of("keda", "github.com/kedacore/keda/v2")
    text = run(program("kubectl"), "kustomize", source / "config" / "minimal")
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return text
