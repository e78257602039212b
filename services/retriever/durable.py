"""Writing files so that a crash at any instant leaves either the old state or the new."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from services.retriever import failpoint


def partial(path: Path) -> Path:
    """Where a file or directory lies while it is made."""
    return path.with_name(f".{path.name}.partial")


def remove(directory: Path) -> None:
    """Take a directory away, whole or not at all. Raises OSError."""
    beside = directory.with_name(f".{directory.name}.removed")
    shutil.rmtree(beside, ignore_errors=True)  # an earlier one of that name may have left something
    directory.rename(beside)
    failpoint.reach("remove.renamed")
    sync_directory(directory.parent)
    shutil.rmtree(beside)


def remove_leftovers(directory: Path) -> None:
    """Take away what killed processes left below: half made, or half removed."""
    for pattern in (".*.partial", ".*.removed"):
        for leftover in directory.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


def replace(path: Path, data: bytes) -> None:
    """Give the file this content in one step, on disk when this returns."""
    beside = partial(path)
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    failpoint.reach("replace.written")
    beside.rename(path)
    failpoint.reach("replace.renamed")
    sync_directory(path.parent)


def sync_tree(directory: Path) -> None:
    """Bring every file and directory below, and the directory itself, to disk."""
    for root, _, names in os.walk(directory):
        for name in names:
            with (Path(root) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(root))


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
