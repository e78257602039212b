"""NetworkPolicies as Kubernetes' reference defines them: who may open a connection to whom, told from manifests."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = Mapping[str, Any]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Peer:
    """A pod, or something outside the cluster: then it has an address and no namespace."""

    name: str
    namespace: str = ""
    labels: Labels = field(default_factory=dict)
    namespace_labels: Labels = field(default_factory=dict)
    address: str = "10.1.2.3"
    port_names: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_pod(self) -> bool:
        return bool(self.namespace)


@dataclass(frozen=True, order=True)
class Port:
    """Where a connection goes."""

    number: int
    protocol: str = "TCP"


def may_connect(policies: Iterable[Manifest], source: Peer, target: Peer, port: Port) -> bool:
    """Whether policies let `source` open a connection to `target`: both ends have their say."""
    policies = list(policies)
    return _lets(policies, "Egress", source, target, target, port) and _lets(
        policies, "Ingress", target, source, target, port
    )


def _lets(policies: list[Manifest], direction: str, pod: Peer, other: Peer, target: Peer, port: Port) -> bool:
    """A pod that no policy selects for a direction is open in it; else one rule of one of them must allow."""
    governing = [policy for policy in policies if direction in _types(policy) and _selects(policy, pod)]
    if not governing:
        return True
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _reaches(rule.get(peers), other, policy["metadata"]["namespace"]) and _opens(rule.get("ports"), target, port)
        for policy in governing
        for rule in policy["spec"].get(rules) or []
    )


def _types(policy: Manifest) -> list[str]:
    spec = policy["spec"]
    types: list[str] = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return types


def _selects(policy: Manifest, pod: Peer) -> bool:
    return pod.namespace == policy["metadata"]["namespace"] and matches(policy["spec"]["podSelector"], pod.labels)


def _reaches(peers: list[Manifest] | None, other: Peer, namespace: str) -> bool:
    """An absent or empty list is everybody."""
    return not peers or any(_is_peer(one, other, namespace) for one in peers)


def _opens(ports: list[Manifest] | None, target: Peer, port: Port) -> bool:
    """An absent or empty list is every port."""
    return not ports or any(_is_port(one, target, port) for one in ports)


def _is_peer(entry: Manifest, other: Peer, namespace: str) -> bool:
    if "ipBlock" in entry:
        address, block = ipaddress.ip_address(other.address), entry["ipBlock"]
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(one) for one in block.get("except") or [])
    if not other.is_pod:
        return False
    if "namespaceSelector" in entry:
        in_namespace = matches(entry["namespaceSelector"] or {}, other.namespace_labels)
    else:
        in_namespace = other.namespace == namespace
    return in_namespace and matches(entry.get("podSelector") or {}, other.labels)


def _is_port(entry: Manifest, target: Peer, port: Port) -> bool:
    if entry.get("protocol", "TCP") != port.protocol:
        return False
    if "port" not in entry:
        return True
    first = entry["port"]
    if isinstance(first, str):
        return target.port_names.get(first) == port.number
    return bool(first <= port.number <= entry.get("endPort", first))


def matches(selector: Manifest, labels: Labels) -> bool:
    """Whether a label selector matches. An empty one matches everything."""
    wanted = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _holds(requirement, labels) for requirement in selector.get("matchExpressions") or []
    )


def _holds(requirement: Manifest, labels: Labels) -> bool:
    key, values = requirement["key"], requirement.get("values") or []
    holds_by_operator = {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }
    return holds_by_operator[requirement["operator"]]
