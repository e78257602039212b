"""Where the cluster lives on this machine, and its addresses."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HOME = Path(os.environ.get("CLUSTER_HOME", Path.home() / ".cache" / "trivium-cluster"))
"""What outlives a cluster: binaries by their pins, and what tests leave for a reader."""

STATE = Path("/var/lib/trivium-cluster")
"""What one cluster leaves behind; removed by `down`. Beside podman's store, whose layers it links to."""

LOGS = STATE / "log"
PKI = STATE / "pki"
KUBECONFIG = STATE / "admin.kubeconfig"
CONTAINERD_SOCKET = STATE / "run" / "containerd.sock"

NETWORK = "trivium-cluster"
"""The network namespace. It has no route out: nothing in the cluster can reach beyond it."""

NODE = "node1"
NODE_ADDRESS = "10.244.0.1"
POD_CIDR = "10.244.0.0/16"
NODE_POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
