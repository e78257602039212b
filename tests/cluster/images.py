"""Images on their way from podman's store into the cluster's containerd, without copying a byte of their layers.

Both keep a layer as a directory that overlayfs mounts and nobody writes to again. So the files of podman's are linked
into containerd's snapshots (seconds, where archives of torch's six gigabytes take minutes), and of the image itself
only manifest and configuration move. Stores on two file systems cost a copy.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cluster.binaries import program
from tests.cluster.daemons import run
from tests.cluster.layout import CONTAINERD_SOCKET, HOME


def ctr(*arguments: str | Path) -> str:
    """What containerd's own client prints."""
    return run(program("ctr"), "-a", CONTAINERD_SOCKET, "-n", "k8s.io", *arguments)


def load(*images: str) -> None:
    """Make images of podman's store known to the cluster."""
    for image in images:
        configuration = _stored(image, "--config")
        chain = ""
        for digest, directory in zip(json.loads(configuration)["rootfs"]["diff_ids"], _directories(image), strict=True):
            chain = _linked(directory, digest, below=chain)
        _import(image, _stored(image), configuration)


def of_program(name: str, path: Path, user: int = 0) -> str:
    """The name of an image in podman's store that holds one static program and nothing else."""
    root = HOME / "images" / name
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    run("cp", path, root / name)
    changes = ["--change", f'ENTRYPOINT ["/{name}"]', "--change", f"USER {user}"]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
        subprocess.run(
            ["podman", "import", *changes, "-", f"localhost/{name}:1"],
            stdin=archive.stdout,
            check=True,
            capture_output=True,
        )
    return f"localhost/{name}:1"


def _stored(image: str, *options: str) -> bytes:
    """The manifest in podman's store, byte for byte, or with `--config` the configuration."""
    command = ["skopeo", "inspect", "--raw", *options, f"containers-storage:{image}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _directories(image: str) -> list[str]:
    """Where podman keeps the layers of an image, lowest first."""
    places: dict[str, str] = json.loads(
        run("podman", "image", "inspect", "--format", "{{json .GraphDriver.Data}}", image)
    )
    lower = [place for place in places.get("LowerDir", "").split(":") if place]
    return [*reversed(lower), places["UpperDir"]]


def _linked(directory: str, digest: str, below: str) -> str:
    """The name of containerd's snapshot of this layer upon that one, made of links if it is not there."""
    name = f"sha256:{hashlib.sha256(f'{below} {digest}'.encode()).hexdigest()}" if below else digest
    with suppress(RuntimeError):
        ctr("snapshots", "info", name)
        return name
    mounts: list[dict[str, Any]] = json.loads(
        ctr("snapshots", "prepare", "--mounts", "in-transit", *filter(None, [below]))
    )
    _copy(Path(directory), Path(_writable(mounts[0])))
    ctr("snapshots", "commit", name, "in-transit")
    ctr("snapshots", "label", name, "containerd.io/gc.root=now")  # nothing refers to it until the image is imported
    return name


def _copy(source: Path, target: Path) -> None:
    """Link the files if that can be. podman mounts its store upon itself, and there are no links between mounts: so
    it is done where that mount is undone."""
    if source.stat().st_dev != target.stat().st_dev:
        run("cp", "--archive", f"{source}/.", target)
        return
    link = 'while mountpoint --quiet "$0"; do umount --lazy "$0"; done; cp --archive --link "$1/." "$2"'
    run("unshare", "--mount", "sh", "-c", link, source.parents[1], source, target)


def _writable(mount: dict[str, Any]) -> str:
    """The directory that takes a snapshot's files."""
    upper = [option.removeprefix("upperdir=") for option in mount["Options"] if option.startswith("upperdir=")]
    return str(upper[0] if upper else mount["Source"])


def _import(image: str, manifest: bytes, configuration: bytes) -> None:
    """Import an archive of the image without its layers. containerd has their snapshots and asks for no more."""
    described = _described(manifest) | {"annotations": {"io.containerd.image.name": image}}
    described["mediaType"] = json.loads(manifest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [described]}
    blobs = {_described(blob)["digest"]: blob for blob in (manifest, configuration)}
    files = {f"blobs/{digest.replace(':', '/')}": blob for digest, blob in blobs.items()}
    files |= {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    archive = HOME / "images" / "in-transit.tar"
    with tarfile.open(archive, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    ctr("images", "import", archive)


def _described(blob: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}
