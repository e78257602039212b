"""What the cluster needs of Debian, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess

_PACKAGE_BY_PROGRAM = {
    "runc": "runc",
    "podman": "podman",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "iptables": "iptables",
    "ip": "iproute2",
    "promtool": "prometheus",
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "pkill": "procps",
    "openssl": "openssl",
    "gcc": "gcc libc6-dev",
}


class Unprepared(Exception):
    """This machine cannot run the cluster; the text says why."""


def prepare() -> None:
    """Install the missing packages. Raises Unprepared where that cannot be done."""
    if os.geteuid() != 0:
        raise Unprepared("containers and network namespaces need root")
    missing = [program for program in _PACKAGE_BY_PROGRAM if not _is_there(program)]
    packages = [package for program in missing for package in _PACKAGE_BY_PROGRAM[program].split()]
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise Unprepared(f"no apt-get to install {' '.join(packages)} with")
    _install(packages)


def _is_there(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


def _install(packages: list[str]) -> None:
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-q", *command], env=quietly, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unprepared(f"apt-get {' '.join(command)} failed: {done.stderr.strip()[-300:]}")
