"""A release of the chart in a namespace of its own, as a test sees it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster import control_plane
from tests.cluster.daemons import inside
from tests.cluster.layout import HOME, KUBECONFIG, ROOT

CHART = ROOT / "helm" / "trivium"
OVERRIDES = Path(__file__).with_name("values.yaml")
USER = 10001
DOCUMENTS = (ROOT / "docs" / "operations.md", ROOT / "README.md")

Values = dict[str, Any]


def kubectl(*arguments: str, data: object = None) -> str:
    """What kubectl prints. `data` is sent to it as JSON."""
    return _run(control_plane.kubectl(*arguments), data)


def get(*arguments: str) -> Any:
    """What `kubectl get` says, as Python sees JSON."""
    return json.loads(kubectl("get", "-o", "json", *arguments))


def wait_until(what: str, condition: Callable[[], object], timeout_s: float = 120) -> float:
    """Seconds until the condition held. Asserts that it did in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - began


@dataclass
class Release:
    """The chart, installed as `trivium` with these values files, in a namespace whose pods must be `restricted`."""

    namespace: str
    values: list[Path] = field(default_factory=lambda: [CHART / "values-cpu.yaml", OVERRIDES])

    def prepare(self) -> None:
        """The namespace, its documents, and a volume for its collections."""
        kubectl("create", "namespace", self.namespace)
        enforce = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
        kubectl("label", "namespace", self.namespace, *enforce)
        files = [f"--from-file={path}" for path in DOCUMENTS]
        self.kubectl("create", "configmap", "documents", *files)
        shutil.rmtree(self.collections, ignore_errors=True)  # of a run that was killed
        self.collections.mkdir(parents=True)
        os.chown(self.collections, USER, USER)  # Kubernetes changes no owner of a hostPath
        kubectl("apply", "-f", "-", data=self._volume())

    def remove(self) -> None:
        """Everything of it: pods, which need not end in order, and volume too. Kubernetes forgets them by itself."""
        self.helm("uninstall", "trivium", "--ignore-not-found")
        self.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
        kubectl("delete", "namespace", self.namespace, "--wait=false")
        kubectl("delete", "persistentvolume", self.namespace, "--wait=false")
        shutil.rmtree(self.collections, ignore_errors=True)  # a process that is being killed may still write

    def install(self, values: Values | None = None) -> None:
        """`helm install`: everything Ready, and the documents ingested."""
        self.helm("install", "trivium", str(CHART), *self._values(values), "--wait", "--wait-for-jobs", "--timeout=6m")

    def upgrade(self, values: Values | None = None) -> None:
        """`helm upgrade` to these values, until all is Ready."""
        self.helm("upgrade", "trivium", str(CHART), *self._values(values), "--wait", "--timeout=6m")

    def helm(self, *arguments: str) -> str:
        """What Helm prints."""
        helm = inside(ROOT / ".tools" / "bin" / "helm", "--namespace", self.namespace, *arguments)
        return _run(helm, env={**os.environ, "KUBECONFIG": str(KUBECONFIG)})

    def kubectl(self, *arguments: str, data: object = None) -> str:
        """What kubectl prints, in the release's namespace."""
        return kubectl("--namespace", self.namespace, *arguments, data=data)

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` says, in the release's namespace."""
        return get("--namespace", self.namespace, *arguments)

    def pods(self, component: str) -> list[Any]:
        """The pods of a process that nobody has told to end."""
        pods = self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, component: str) -> dict[str, float]:
        """Unix time at which each Ready pod of a process became so, to the second, by name."""
        conditions = {pod["metadata"]["name"]: condition(pod, "Ready") for pod in self.pods(component)}
        return {name: _unix_time(one["lastTransitionTime"]) for name, one in conditions.items() if is_true(one)}

    def wait_until_ready(self, component: str, count: int, timeout_s: float = 180) -> float:
        """Seconds until a process has exactly so many pods, all Ready and none on its way out."""

        def settled() -> bool:
            pods = self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
            return len(pods) == count == len(self.ready(component))

        return wait_until(f"{count} of {component} Ready", settled, timeout_s)

    def scale(self, component: str, replicas: int) -> None:
        """Change how many pods a process has."""
        self.kubectl("scale", f"deployment/trivium-{component}", f"--replicas={replicas}")

    def cluster_address(self) -> str:
        """host:port of the Service for callers of the gateway. There is no cluster DNS outside pods."""
        return f"{self.get('service', 'trivium')['spec']['clusterIP']}:7000"

    def write_state(self, folder: Path) -> None:
        """Logs of every container, events, and what Kubernetes says of every object."""
        folder.mkdir(parents=True, exist_ok=True)
        for pod in self.get("pods")["items"]:
            name = pod["metadata"]["name"]
            for previous in ("false", "true"):
                log = _output("logs", name, "--all-containers", f"--previous={previous}", f"-n{self.namespace}")
                (folder / f"{name}{'.previous' * (previous == 'true')}.log").write_text(log)
        (folder / "events.txt").write_text(_output("events", f"-n{self.namespace}"))
        (folder / "pods.txt").write_text(_output("describe", "pods", f"-n{self.namespace}"))
        (folder / "all.txt").write_text(_output("get", "all,pvc,pdb,hpa", "-owide", f"-n{self.namespace}"))

    @property
    def collections(self) -> Path:
        """Where the node keeps the collections."""
        return HOME / "volumes" / self.namespace

    def _values(self, values: Values | None) -> list[str]:
        """Helm's arguments. The values beside the files are written to a file too: JSON is YAML."""
        own = HOME / "volumes" / f"{self.namespace}.json"
        own.write_text(json.dumps(values or {}))
        return [word for path in (*self.values, own) for word in ("--values", str(path))]

    def _volume(self) -> Values:
        """There is no storage provisioner: a volume on the node, kept for the release's claim."""
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.namespace},
            "spec": {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(self.collections), "type": "Directory"},
                "claimRef": {"namespace": self.namespace, "name": "trivium-collections"},
            },
        }


def condition(pod: Any, kind: str) -> Any:
    """A condition of a pod. Empty when it has none of that kind."""
    return next((one for one in pod["status"].get("conditions", ()) if one["type"] == kind), {})


def is_true(condition: Any) -> bool:
    """Whether the condition holds."""
    return bool(condition) and condition["status"] == "True"


def _unix_time(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _output(*arguments: str) -> str:
    done = subprocess.run(control_plane.kubectl(*arguments), capture_output=True, text=True)
    return done.stdout + done.stderr


def _run(command: list[str], data: object = None, env: dict[str, str] | None = None) -> str:
    text = None if data is None else json.dumps(data)
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=env)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
