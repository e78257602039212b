"""The versions of a collection that are kept: listed, read, deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.retriever import durable, manifest
from services.retriever.collection import Collection, CorruptPointer
from services.retriever.manifest import CorruptVersion, Manifest

logger = logging.getLogger(__name__)


class NoSuchVersion(Exception):
    """There is no version of that number, or no longer."""


class VersionIsPublished(Exception):
    """Readers follow it."""


@dataclass(frozen=True)
class Retention:
    """What is kept: so many of the newest versions, and all that are younger than so long."""

    num_versions: int
    age: timedelta


def kept(collection: Collection) -> dict[int, Manifest | None]:
    """Every version's manifest by number, oldest first; None where it cannot be read. Raises OSError. Blocks."""
    found: dict[int, Manifest | None] = {}
    for number, directory in _directories(collection):
        try:
            found[number] = manifest.read(directory)
        except CorruptVersion as error:
            details = {"collection": collection.name, "index_version": number, "reason": str(error)}
            logger.warning("version cannot be read", extra=details)
            found[number] = None
    return found


def read(collection: Collection, index_version: int) -> Manifest:
    """A version's manifest, once every file is what it says. The published one is the one that the pointer names.

    Raises NoSuchVersion, CorruptVersion, CorruptPointer. Blocks.
    """
    directory, pointer = _directory(collection, index_version), collection.pointer()
    is_published = pointer is not None and pointer.index_version == index_version
    described = manifest.read(directory, pointer.manifest_sha256 if pointer and is_published else None)
    manifest.verify(directory, described)
    return described


def delete(collection: Collection, index_version: int) -> None:
    """Readers that hold its files go on. Raises NoSuchVersion, VersionIsPublished, CorruptPointer, OSError. Blocks."""
    directory = _directory(collection, index_version)
    if index_version == _published(collection):
        raise VersionIsPublished(index_version)
    durable.remove(directory)


def published_manifest(collection: Collection) -> Manifest | None:
    """The published version's manifest; None when there is none, or it is not what was published. Blocks."""
    try:
        pointer = collection.pointer()
        return (
            manifest.read(collection.version_path(pointer.index_version), pointer.manifest_sha256) if pointer else None
        )
    except (CorruptPointer, CorruptVersion):
        return None


def retire(collection: Collection, retention: Retention) -> None:
    """Delete what is neither published nor to be kept. What cannot be deleted stays until the next time. Blocks."""
    now = datetime.now(UTC)
    durable.remove_leftovers(collection.versions_path)
    try:
        published = _published(collection)
        others = [(number, directory) for number, directory in _directories(collection) if number != published]
    except (CorruptPointer, OSError):
        logger.exception("old versions could not be found", extra={"collection": collection.name})
        return
    for number, directory in others[: max(0, len(others) + 1 - retention.num_versions)]:
        details = {"collection": collection.name, "index_version": number}
        try:
            if now - _created_at(directory) >= retention.age:
                durable.remove(directory)
                logger.info("version deleted", extra=details)
        except OSError:
            logger.exception("version could not be deleted", extra=details)


def _directory(collection: Collection, index_version: int) -> Path:
    """Raises NoSuchVersion."""
    directory = collection.version_path(index_version)
    if not directory.is_dir():
        raise NoSuchVersion(index_version)
    return directory


def _directories(collection: Collection) -> Iterator[tuple[int, Path]]:
    """Every version's number and directory, oldest first. Raises OSError."""
    numbers = sorted(int(path.name) for path in collection.versions_path.iterdir() if path.name.isdecimal())
    return ((number, collection.version_path(number)) for number in numbers)


def _published(collection: Collection) -> int:
    """Raises CorruptPointer: what readers follow is not known, and might be anything."""
    pointer = collection.pointer()
    return pointer.index_version if pointer else 0


def _created_at(directory: Path) -> datetime:
    """As the file system says where the manifest cannot be read. Raises OSError."""
    try:
        return manifest.read(directory).created_at
    except CorruptVersion:
        return datetime.fromtimestamp(directory.stat().st_mtime, UTC)
