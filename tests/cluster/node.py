"""containerd, kubelet and kube-proxy: the one node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.cluster import daemons, images
from tests.cluster.binaries import directory, program
from tests.cluster.control_plane import kubectl
from tests.cluster.daemons import run, start, wait_for
from tests.cluster.layout import (
    CONTAINERD_SOCKET,
    DNS_ADDRESS,
    KUBECONFIG,
    NODE,
    NODE_ADDRESS,
    NODE_POD_CIDR,
    POD_CIDR,
    STATE,
)

_PAUSE = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int sign) { _exit(0); }
static void reap(int sign) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main() { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""
"""What holds a pod's namespaces open."""

_CONTAINERD = """
version = 3
root = "{state}/containerd"
state = "{state}/run/containerd"
[grpc]
  address = "{socket}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE a negative score cannot be set
  disable_hugetlb_controller = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{plugins}"]
  conf_dir = "{state}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def bring_up() -> None:
    """All three. The node registers itself."""
    _write_settings()
    start("containerd", program("containerd"), "-c", STATE / "containerd.toml", search_path=[directory("containerd")])
    wait_for("containerd", program("ctr"), "-a", CONTAINERD_SOCKET, "version")
    _make_pause()
    images.load(images.of_program("pause", STATE / "pause"), images.of_program("coredns", program("coredns")))
    start("kubelet", program("kubelet"), *_kubelet())
    start("kube-proxy", program("kube-proxy"), *_proxy())


def tear_down() -> None:
    """End them, every container and every mount of theirs, also where some have ended by themselves."""
    for name in ("kubelet", "kube-proxy", "containerd"):
        daemons.stop(name)
    _kill_containers()
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{STATE}/"):
            run("umount", "-l", line.split()[1])


def _write_settings() -> None:
    settings = _CONTAINERD.format(state=STATE, socket=CONTAINERD_SOCKET, plugins=directory("containerd"))
    (STATE / "containerd.toml").write_text(settings)
    (STATE / "cni" / "10-bridge.conflist").write_text(json.dumps(_pod_network()))
    (STATE / "kubelet.yaml").write_text(json.dumps(_kubelet_settings()))


def _pod_network() -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": NODE_POD_CIDR}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{STATE}/cni/addresses",
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}


def _kubelet_settings() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "imageGCHighThresholdPercent": 100,  # an image that went away would not come again
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }


def _kubelet() -> list[str]:
    return [
        f"--config={STATE}/kubelet.yaml",
        f"--kubeconfig={KUBECONFIG}",
        f"--root-dir={STATE}/kubelet",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
    ]


def _proxy() -> list[str]:
    return [
        f"--kubeconfig={KUBECONFIG}",
        f"--cluster-cidr={POD_CIDR}",
        "--proxy-mode=iptables",
        f"--hostname-override={NODE}",
        "--conntrack-max-per-core=0",  # what the namespace has, it keeps
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]


def _make_pause() -> None:
    (STATE / "pause.c").write_text(_PAUSE)
    run("gcc", "-O2", "-static", "-o", STATE / "pause", STATE / "pause.c")


def _kill_containers() -> None:
    """Each container's first process, with which the others end, and its shim.

    Only ours: their shims' command lines carry this cluster's socket.
    """
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            words = path.read_bytes()
            if b"containerd-shim" in words and str(CONTAINERD_SOCKET).encode() in words:
                subprocess.run(["pkill", "-KILL", "--parent", path.parent.name])
                os.kill(int(path.parent.name), signal.SIGKILL)


def advertise_gpus(count: int) -> None:
    """The node says that it has so many. They are numbers for the scheduler: there is no device behind them."""
    change = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
    command = kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "-p", json.dumps(change))
    run(*command)
