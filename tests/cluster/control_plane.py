"""etcd, API server, controllers and scheduler, with the switches that a test machine needs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.binaries import program
from tests.cluster.daemons import inside, run, start, wait_for
from tests.cluster.layout import KUBECONFIG, NODE_ADDRESS, PKI, POD_CIDR, SERVICE_CIDR, STATE

_ETCD = "http://127.0.0.1:2379"
_SERVER = f"https://{NODE_ADDRESS}:6443"


def kubectl(*arguments: str) -> list[str]:
    """kubectl against this cluster, as a command line."""
    return inside(program("kubectl"), f"--kubeconfig={KUBECONFIG}", *arguments)


def bring_up() -> None:
    """All four, the API server ready."""
    _write_keys()
    _write_kubeconfig()
    start("etcd", program("server"), *_etcd())
    start("kube-apiserver", program("kube-apiserver"), *_api_server())
    wait_for("the API server", *kubectl("get", "--raw", "/readyz"))
    start("kube-controller-manager", program("kube-controller-manager"), *_controllers())
    start("kube-scheduler", program("kube-scheduler"), f"--kubeconfig={KUBECONFIG}", "--leader-elect=false")


def _write_keys() -> None:
    """Keys of service accounts, and a CA of its own by which the API server proves itself to extensions."""
    run("openssl", "genrsa", "-out", PKI / "sa.key", "2048")
    run("openssl", "rsa", "-in", PKI / "sa.key", "-pubout", "-out", PKI / "sa.pub")
    certificate = ["-subj", "/CN=front-proxy", "-addext", "extendedKeyUsage=clientAuth", "-days", "30"]
    files: list[str | Path] = ["-keyout", PKI / "front-proxy.key", "-out", PKI / "front-proxy.crt"]
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate, *files)
    (PKI / "tokens.csv").write_text('admin,admin,1,"system:masters"\n')


def _write_kubeconfig() -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": _SERVER, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "admin", "user": {"token": "admin"}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "admin"}}],
        "current-context": "local",
    }
    KUBECONFIG.write_text(json.dumps(config))
    KUBECONFIG.chmod(0o600)  # Helm warns about any other


def _etcd() -> list[str]:
    return [
        f"--data-dir={STATE}/etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
    ]


def _api_server() -> list[str]:
    return [
        f"--etcd-servers={_ETCD}",
        f"--cert-dir={PKI}",
        f"--bind-address={NODE_ADDRESS}",
        f"--advertise-address={NODE_ADDRESS}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key",
        f"--token-auth-file={PKI}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={PKI}/front-proxy.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={PKI}/front-proxy.crt",
        f"--proxy-client-key-file={PKI}/front-proxy.key",
    ]


def _controllers() -> list[str]:
    return [
        f"--kubeconfig={KUBECONFIG}",
        f"--service-account-private-key-file={PKI}/sa.key",
        f"--root-ca-file={PKI}/apiserver.crt",
        f"--cluster-cidr={POD_CIDR}",
        "--allocate-node-cidrs=true",
        "--leader-elect=false",
        "--horizontal-pod-autoscaler-sync-period=5s",
    ]
