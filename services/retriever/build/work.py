"""The folder of a build: what is to be encoded, and what is.

    plan.json                      which shards the corpus consists of, in order; who asked for them
    documents/<shard>              documents of one shard; its name is the SHA-256 of its content
    encoded/<made_by>/<shard>.npy       vectors of its passages, float32, shape (passages, dimension)
    encoded/<made_by>/<shard>.passages  the passages themselves, by document
    encoded/<made_by>/<shard>.done      written last: both files above are whole and on disk

A shard is found by what it holds and by who encodes it: what is left of another corpus, encoder or splitter is never
taken for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from services.retriever import durable

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What a build is to do."""

    shards: tuple[str, ...]
    """Names, in the order of the corpus."""
    fingerprint: dict[str, str]
    """Property → value of the encoder and the splitter of the indexer that will store it. Empty: whoever it is."""

    @classmethod
    def read(cls, folder: Path) -> Plan:
        fields = json.loads((folder / "plan.json").read_bytes())
        return cls(tuple(fields["shards"]), dict(fields["fingerprint"]))


class EncodedShards:
    """The results of one encoder and splitter in a folder. Any number of processes may write, even the same shard."""

    def __init__(self, folder: Path, made_by: str) -> None:
        self._documents = folder / "documents"
        self._directory = folder / "encoded" / made_by
        self._directory.mkdir(parents=True, exist_ok=True)

    def documents_path(self, shard: str) -> Path:
        return self._documents / shard

    def is_done(self, shard: str) -> bool:
        return self._path(shard, "done").exists()

    def write(
        self,
        shard: str,
        shape: tuple[int, int],
        write_passages: Callable[[IO[bytes]], None],
        fill: Callable[[Vectors], None],
    ) -> None:
        """Have both files of a shard written; they are on disk and count as done when this returns.

        `fill` gets the vectors as a memory map of that shape.
        """
        beside = {name: self._path(shard, f"{name}.{os.getpid()}.partial") for name in ("passages", "npy")}
        try:
            with beside["passages"].open("wb") as file:
                write_passages(file)
                file.flush()
                os.fsync(file.fileno())
            vectors = np.lib.format.open_memmap(beside["npy"], mode="w+", dtype=np.float32, shape=shape)
            _reserve(beside["npy"])
            fill(vectors)
            vectors.flush()
            del vectors
            _sync(beside["npy"])
            for name, path in beside.items():
                path.rename(self._path(shard, name))
        finally:
            for path in beside.values():
                path.unlink(missing_ok=True)
        durable.sync_directory(self._directory)
        durable.replace(self._path(shard, "done"), json.dumps({"num_passages": shape[0]}).encode())

    def remove_partial(self) -> None:
        """Take away what killed processes left. Whoever still writes one of these files fails."""
        for path in self._directory.glob("*.partial"):
            path.unlink(missing_ok=True)

    def _path(self, shard: str, name: str) -> Path:
        return self._directory / f"{shard}.{name}"


def _reserve(path: Path) -> None:
    """A full disk is an OSError now, and not a signal when the map is written."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
