"""One writer to a directory of collections."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from chassis.config import ConfigError
from services.retriever.collection import LOCK


class WriterLock:
    """Held from construction to `release`, or to the end of the process, however it ends."""

    def __init__(self, collections_path: Path) -> None:
        """Raises ConfigError, naming the holder, when another process writes there."""
        path = collections_path / LOCK
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode().strip() or "unknown"
            os.close(self._descriptor)
            raise ConfigError(f"collections_path {collections_path}: written by process {holder} already") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)
