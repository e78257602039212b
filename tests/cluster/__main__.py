"""A real one-node Kubernetes: `python -m tests.cluster VERB`. Needs root and what `prepare` installs.

build         the programs, with Go (about ten minutes once, on two cores)
up            etcd, API server, controllers, scheduler, containerd, kubelet, kube-proxy, CoreDNS
load IMAGE…   copies images from podman's store into the cluster's
gpus N        the node advertises N of nvidia.com/gpu
keda          KEDA, built (six minutes once) and deployed
kubectl …     kubectl against it
exec …        any command in its network, with KUBECONFIG set
down          stops all that it started
prepare       Debian's packages

What it is not: control groups are the machine's, version 1 too; nothing enforces NetworkPolicies; GPUs are numbers for
the scheduler; volumes are made by hand; there is no metrics-server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from tests.cluster import cluster, debian, images, keda, node
from tests.cluster.control_plane import kubectl
from tests.cluster.daemons import inside
from tests.cluster.layout import KUBECONFIG

_VERBS: dict[str, Callable[..., object]] = {
    "build": cluster.build,
    "up": cluster.up,
    "down": cluster.down,
    "load": images.load,
    "keda": keda.deploy,
    "gpus": lambda count: node.advertise_gpus(int(count)),
    "kubectl": lambda *arguments: _become(*kubectl(*arguments)),
    "exec": lambda *command: _become(*inside(*command)),
    "prepare": debian.prepare,
}


def _become(*command: str) -> None:
    sys.exit(subprocess.run(command, env={**os.environ, "KUBECONFIG": str(KUBECONFIG)}).returncode)


if len(sys.argv) < 2 or sys.argv[1] not in _VERBS:
    sys.exit(__doc__)
_VERBS[sys.argv[1]](*sys.argv[2:])
