"""The cluster's network namespace: one bridge for node and pods, no route out."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.daemons import inside, run
from tests.cluster.layout import NETWORK, NODE_ADDRESS, SERVICE_CIDR, STATE

_NAMESPACES = Path("/run/netns")
_FOREIGN = STATE / "foreign-namespaces"


def create() -> None:
    """A namespace with a bridge on which the node has its address."""
    _FOREIGN.write_text(" ".join(_pods()))
    run("ip", "netns", "add", NETWORK)
    for line in (
        "ip link set lo up",
        "ip link add cni0 type bridge",
        f"ip addr add {NODE_ADDRESS}/24 dev cni0",
        "ip link set cni0 up",
        f"ip route add {SERVICE_CIDR} dev cni0",
        "sysctl -qw net.ipv4.ip_forward=1",
    ):
        run(*inside(*line.split()))


def remove() -> None:
    """Remove it, and the namespaces of pods that came after it."""
    if _FOREIGN.exists():
        for pod in set(_pods()) - set(_FOREIGN.read_text().split()):
            run("ip", "netns", "del", pod)
    if (_NAMESPACES / NETWORK).exists():
        run("ip", "netns", "del", NETWORK)


def _pods() -> list[str]:
    return [path.name for path in _NAMESPACES.glob("cni-*")]
