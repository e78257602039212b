"""Bases that bring a torch of their own. Here it is a stand-in: what is installed beside it is real."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.images import engine

DIST_PACKAGES = "/usr/local/lib/python3.11/dist-packages"


def base_with_torch(base: str, version: str, folder: Path) -> str:
    """A base that has a torch of that version, as far as metadata and an import go."""
    files = {
        "torch/__init__.py": f"__version__ = {version!r}\n",
        f"torch-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
    }
    for name, text in files.items():
        path = folder / "packages" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (folder / "Containerfile").write_text(f"FROM {base}\nCOPY packages {DIST_PACKAGES}\n")
    name = f"localhost/trivium-base-torch:{version}"
    command = ["buildah", "build", "--isolation=chroot", "--tag", name, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return name


def test_the_bases_own_torch_is_kept(base: str, images: dict[str, str], tmp_path: Path) -> None:
    engine.build(base_with_torch(base, "2.9.1", tmp_path), "reranker", TRIVIUM_TAG="kept")
    looking = (
        "import importlib.metadata as m, json, torch, tokenizers, transformers\n"
        "print(json.dumps([torch.__file__, torch.__version__, sorted(d.name for d in m.distributions())]))"
    )
    finished = engine.run(engine.name_of("reranker", "kept"), "python", "-c", looking)
    path, version, names = json.loads(finished.stdout.strip().splitlines()[-1])
    assert (path, version) == (f"{DIST_PACKAGES}/torch/__init__.py", "2.9.1")
    assert not [name for name in names if name.startswith("nvidia-") and name != "nvidia-ml-py"]
    assert "triton" not in names


def test_a_base_with_an_old_torch_is_refused(base: str, images: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the base has torch 2\.8\.0; 2\.9 or newer is needed"):
        engine.build(base_with_torch(base, "2.8.0", tmp_path), "reranker", TRIVIUM_TAG="refused")
