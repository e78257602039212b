"""Vectors out of a FAISS file, opened by a process of its own: a hostile file ends that one and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.bulk.failure import BulkFailed

REFUSED = 2


@dataclass(frozen=True)
class FaissVectors:
    """What the file holds, as that process tells."""

    path: Path
    """A .npy file."""
    kind: str
    dimension: int
    metric: str
    count: int

    def load(self) -> NDArray[np.float32]:
        """A memory map of shape (count, dimension). Raises BulkFailed."""
        try:
            vectors: NDArray[np.float32] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise BulkFailed("INDEX_CRASHED", f"the process that opened it left no vectors: {error}") from error
        if vectors.shape != (self.count, self.dimension) or vectors.dtype != np.float32:
            raise BulkFailed("INDEX_UNREADABLE", f"its vectors are of shape {vectors.shape}, not what it says")
        return vectors


def read_vectors(index: Path, folder: Path) -> FaissVectors:
    """Have the vectors of an index written into a folder. Raises BulkFailed."""
    if not index.is_file():
        raise BulkFailed("INDEX_UNREADABLE", f"{index}: there is no such file")
    path = folder / "vectors.npy"
    finished = subprocess.run(
        # -P: nothing in the current folder is imported in place of a module.
        [sys.executable, "-P", "-m", "services.retriever.importing", str(index.absolute()), str(path.absolute())],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    if finished.returncode not in (0, REFUSED):
        raise BulkFailed("INDEX_CRASHED", f"{index}: {_end(finished)}; nothing was stored")
    try:
        told = json.loads(finished.stdout.splitlines()[-1])
        if "refusal" not in told:
            return FaissVectors(
                path, str(told["kind"]), int(told["dimension"]), str(told["metric"]), int(told["count"])
            )
    except (ValueError, LookupError, TypeError):
        raise BulkFailed("INDEX_CRASHED", f"{index}: the process that opened it told nothing") from None
    raise BulkFailed("INDEX_UNREADABLE", f"{index}: {told['refusal']}")


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


def _end(finished: subprocess.CompletedProcess[bytes]) -> str:
    status = finished.returncode
    how = signal.strsignal(-status) if status < 0 else f"exit status {status}"
    last = finished.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return "; ".join([f"the process that opened it did not survive ({how})", *last])
