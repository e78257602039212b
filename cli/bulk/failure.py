"""Why a build or an import came to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BulkFailed(Exception):
    """`reason` is one of a few words for programs (`COUNT_MISMATCH`), the text says what to do."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What goes wrong with files in that folder, as BulkFailed."""
    try:
        yield
    except OSError as error:
        raise BulkFailed("WORK_DIR", f"{error.filename or folder}: {error.strerror or error}") from error
