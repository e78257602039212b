"""Who there is: the chart's pods as rendered, and strangers inside and outside the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chart.network import Manifest, Peer, Port, matches
from tests.chart.rendering import PROCESSES

NAMESPACE = "questions"
COMPONENT = "app.kubernetes.io/component"
OUR_LABELS = {"app.kubernetes.io/name": "trivium", "app.kubernetes.io/instance": "trivium"}


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: Sequence[Manifest]) -> dict[str, Peer]:
    """The pods that the chart's objects make, by component."""
    templates = [_template(one) for one in of_kind(manifests, "Deployment", "Job", "CronJob", "Pod")]
    return {template["metadata"]["labels"][COMPONENT]: _pod(template) for template in templates}


def _template(manifest: Manifest) -> Manifest:
    spec = manifest["spec"]
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Manifest = manifest if manifest["kind"] == "Pod" else spec["template"]
    return template


def _pod(template: Manifest) -> Peer:
    labels = template["metadata"]["labels"]
    ports = {
        port["name"]: port["containerPort"]
        for container in template["spec"]["containers"]
        for port in container.get("ports", [])
    }
    return _in_namespace(labels[COMPONENT], NAMESPACE, labels, ports)


def _in_namespace(name: str, namespace: str, labels: dict[str, str], ports: dict[str, int] | None = None) -> Peer:
    return Peer(
        name, namespace, labels, {"kubernetes.io/metadata.name": namespace}, address="10.1.2.3", port_names=ports or {}
    )


CALLER = _in_namespace("a caller", NAMESPACE, {"app": "web"})
OTHER_RELEASE = _in_namespace(
    "another release's retriever", NAMESPACE, {**OUR_LABELS, "app.kubernetes.io/instance": "b", COMPONENT: "retriever"}
)
TWIN = _in_namespace("the gateway of a release elsewhere", "elsewhere", {**OUR_LABELS, COMPONENT: "gateway"})
STRANGER = _in_namespace("a pod elsewhere", "elsewhere", {"app": "web"})
PROMETHEUS = _in_namespace("Prometheus", "monitoring", {"app": "prometheus"})
KEDA = _in_namespace("KEDA", "keda", {"app": "keda-operator"})
DNS = _in_namespace("DNS", "kube-system", {"k8s-app": "kube-dns"})
KUBE_SYSTEM = _in_namespace("another pod of kube-system", "kube-system", {"k8s-app": "other"})
INTERNET = Peer("the internet", address="203.0.113.7")

STRANGERS = (CALLER, OTHER_RELEASE, TWIN, STRANGER, PROMETHEUS, KEDA, DNS, KUBE_SYSTEM, INTERNET)

GROUPS = {
    "any other pod of the release's namespace": [CALLER, OTHER_RELEASE],
    "Prometheus": [PROMETHEUS],
    "KEDA": [KEDA],
    "DNS": [DNS],
    "any pod but the chart's": [peer for peer in STRANGERS if peer.is_pod],
    "anywhere but the chart's pods": list(STRANGERS),
}
"""Whom the words of the documentation mean, besides a component's own name."""


def group(words: str, own: dict[str, Peer]) -> list[Peer]:
    """Whom a cell of the documentation's table means, among the pods of this rendering and the strangers."""
    ours = {
        "every process": [name for name in own if name in PROCESSES],
        "every process with a model": [name for name in own if name in PROCESSES[1:]],
        "every pod of the chart": list(own),
    }
    if words in ours:
        return [own[name] for name in ours[words]]
    return GROUPS[words] if words in GROUPS else [own[words]] if words in own else []


def backends(manifests: Sequence[Manifest], own: dict[str, Peer]) -> Iterator[tuple[str, int, Peer, Port]]:
    """Service, its port, and the pod and port behind it."""
    for service in of_kind(manifests, "Service"):
        for peer in own.values():
            if matches({"matchLabels": service["spec"]["selector"]}, peer.labels):
                for port in service["spec"]["ports"]:
                    target = port.get("targetPort", port["port"])
                    number = peer.port_names[target] if isinstance(target, str) else target
                    yield service["metadata"]["name"], port["port"], peer, Port(number, port.get("protocol", "TCP"))
