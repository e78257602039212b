"""The chart, rendered by the real Helm, as objects that a test reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.installation import GO_TOOLS, ROOT

CHART = ROOT / "helm" / "trivium"
PROFILES = Path(__file__).parent / "values"
PROCESSES = ("gateway", "retriever", "indexer", "reranker", "generator")

WITHOUT_INDEXER = frozenset({"read-only"})
"""Profiles whose collections are brought."""

Object = dict[str, Any]

FILES_BY_PROFILE: dict[str, list[Path]] = {
    "defaults": [],
    "cpu": [CHART / "values-cpu.yaml"],
    "gpu": [CHART / "values-gpu.yaml"],
    **{path.stem: [path] for path in sorted(PROFILES.glob("*.yaml"))},
}
"""The states of the chart that tests walk: its own values files, and those beside this module."""

NEEDS_VERSION = {"claims": "1.34"}
"""Profiles that older Kubernetes cannot have."""


def processes(profile: str) -> list[str]:
    """The processes that a profile has."""
    return [name for name in PROCESSES if name != "indexer" or profile not in WITHOUT_INDEXER]


def run_helm(*arguments: str | Path, helm: str = "helm") -> subprocess.CompletedProcess[str]:
    """`helm` (version 4) or `helm3`, as built by `make tools`."""
    path = f"{GO_TOOLS}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which(helm, path=path)
    assert program, f"no {helm}: run `make tools`"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


@cache
def rendered(profile: str = "defaults", *settings: str, kubernetes: str = "1.36", helm: str = "helm") -> str:
    """What `helm template` prints for a profile, with `--set` for each setting."""
    finished = template(profile, *settings, kubernetes=kubernetes, helm=helm)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def template(
    profile: str, *settings: str, kubernetes: str = "1.36", helm: str = "helm"
) -> subprocess.CompletedProcess[str]:
    """`helm template` of a profile, whether it succeeds or not."""
    files = [f"--values={path}" for path in FILES_BY_PROFILE[profile]]
    options = ["--namespace=questions", f"--kube-version={kubernetes}.0", *map(_option, settings)]
    return run_helm("template", "trivium", CHART, *files, *options, helm=helm)


def _option(setting: str) -> str:
    """To `--set`, 2.5 and [] are text."""
    return f"--set-json={setting}" if re.fullmatch(r".+=(\d+\.\d+|\[\])", setting) else f"--set={setting}"


def refusal(*settings: str, profile: str = "defaults", kubernetes: str = "1.36") -> str:
    """What Helm says of values that it does not take. Fails when it takes them."""
    finished = template(profile, *settings, kubernetes=kubernetes)
    assert finished.returncode != 0, f"{settings} was taken"
    return finished.stderr


@cache
def objects(profile: str = "defaults", *settings: str, kubernetes: str = "1.36", helm: str = "helm") -> list[Object]:
    """The objects of a profile. Shared: do not change them."""
    text = rendered(profile, *settings, kubernetes=kubernetes, helm=helm)
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def of_kind(kind: str, profile: str = "defaults", *settings: str) -> dict[str, Object]:
    """The objects of a kind, by the component that they belong to."""
    found = [one for one in objects(profile, *settings) if one["kind"] == kind]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in found}


def pod_templates(profile: str = "defaults", *settings: str) -> Iterator[tuple[str, Object]]:
    """The pod template of every workload, Job, CronJob and test, by the object's name."""
    for one in objects(profile, *settings):
        spec = one.get("spec", {})
        if one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], spec["template"]
        elif one["kind"] == "CronJob":
            yield one["metadata"]["name"], spec["jobTemplate"]["spec"]["template"]
        elif one["kind"] == "Pod":
            yield one["metadata"]["name"], one


def environment(process: str, profile: str = "defaults", *settings: str) -> dict[str, str]:
    """The variables of a process's ConfigMap."""
    name = deployment(process, profile, *settings)["metadata"]["name"]
    (found,) = (
        one for one in objects(profile, *settings) if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", name)
    )
    variables: dict[str, str] = found["data"]
    return variables


def deployment(process: str, profile: str = "defaults", *settings: str) -> Object:
    """A process's Deployment."""
    return of_kind("Deployment", profile, *settings)[process]


def pod(process: str, profile: str = "defaults", *settings: str) -> Object:
    """The pod spec of a process."""
    spec: Object = deployment(process, profile, *settings)["spec"]["template"]["spec"]
    return spec


def container(process: str, profile: str = "defaults", *settings: str) -> Object:
    """The container of a process."""
    (only,) = pod(process, profile, *settings)["containers"]
    found: Object = only
    return found
