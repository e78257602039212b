"""Follows the pointers: loads what is published beside what is served, and swaps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from services.retriever.collection import Collection, CorruptPointer, Pointer, every
from services.retriever.dense import UnreadableIndex
from services.retriever.fingerprint import Fingerprint
from services.retriever.manifest import CorruptVersion
from services.retriever.version import EncoderMismatch, Version, load

logger = logging.getLogger(__name__)

VERDICTS = (CorruptVersion, EncoderMismatch, UnreadableIndex)
"""A version that raised one of these stays refused. Anything else may pass, and is tried again."""

VersionListener = Callable[[str, int], None]


class NoSuchCollection(Exception):
    """There is no collection of that name."""


class NothingPublished(Exception):
    """The collection has no published version."""


class Follower:
    """The versions that this process serves. One poller loads; any number of tasks read."""

    def __init__(
        self, collections_path: Path, encoder: Fingerprint, poll_interval_s: float, changed: VersionListener
    ) -> None:
        self._collections_path = collections_path
        self._encoder = encoder
        self._poll_interval_s = poll_interval_s
        self._changed = changed
        self._version_by_name: dict[str, Version] = {}
        self._refused: dict[str, tuple[Pointer | None, Exception]] = {}
        self._advanced = asyncio.Condition()
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is published, then follow."""
        await self._poll()
        self._polling = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._polling:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling

    async def version(self, name: str, at_least: int = 0) -> Version:
        """The version served of a collection, once it is `at_least` that number.

        Raises NoSuchCollection, NothingPublished, or what kept the published version from being loaded.
        """
        if not self._is_settled(name, at_least):
            await self._require_published(name, at_least)
            async with self._advanced:
                await self._advanced.wait_for(lambda: self._is_settled(name, at_least))
        if self._is_served(name, at_least):
            return self._version_by_name[name]
        raise self._refused[name][1].with_traceback(None)

    def _is_settled(self, name: str, at_least: int) -> bool:
        return self._is_served(name, at_least) or self._is_refused(name, at_least)

    def _is_served(self, name: str, at_least: int) -> bool:
        return name in self._version_by_name and self._version_by_name[name].index_version >= at_least

    def _is_refused(self, name: str, at_least: int) -> bool:
        """Whether the published version is refused. One that is older than what is wanted says nothing."""
        if name not in self._refused:
            return False
        pointer = self._refused[name][0]
        return pointer is None or pointer.index_version >= at_least

    async def _require_published(self, name: str, at_least: int) -> None:
        """Of what is published, or is waited for, the poller will tell."""
        collection = Collection.named(self._collections_path, name)
        if not await asyncio.to_thread(collection.exists):
            raise NoSuchCollection(name)
        if not at_least and await asyncio.to_thread(collection.pointer) is None:
            raise NothingPublished(name)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            try:
                await self._poll()
            except Exception:  # what is served stays served; the next poll may succeed
                logger.exception("the collections cannot be read")

    async def _poll(self) -> None:
        for collection, pointer in await asyncio.to_thread(self._read_pointers):
            if isinstance(pointer, CorruptPointer):
                await self._refuse(collection.name, None, pointer)
            elif self._is_news(collection.name, pointer):
                await self._load(collection, pointer)

    def _read_pointers(self) -> list[tuple[Collection, Pointer | CorruptPointer]]:
        found: list[tuple[Collection, Pointer | CorruptPointer]] = []
        for collection in every(self._collections_path):
            try:
                if pointer := collection.pointer():
                    found.append((collection, pointer))
            except CorruptPointer as error:
                found.append((collection, error))
        return found

    def _is_news(self, name: str, pointer: Pointer) -> bool:
        served = self._version_by_name.get(name)
        if served and served.index_version == pointer.index_version:
            return False
        return name not in self._refused or self._refused[name][0] != pointer

    async def _load(self, collection: Collection, pointer: Pointer) -> None:
        try:
            version = await asyncio.to_thread(load, collection, pointer, self._encoder)
        except VERDICTS as error:
            await self._refuse(collection.name, pointer, error)
            return
        logger.info("version served", extra={"collection": collection.name, "index_version": version.index_version})
        self._refused.pop(collection.name, None)
        self._version_by_name[collection.name] = version
        self._changed(collection.name, version.index_version)
        await self._notify()

    async def _refuse(self, name: str, pointer: Pointer | None, error: Exception) -> None:
        """Remember why, so that a version that cannot be served is read once and not at every poll."""
        if name not in self._refused or self._refused[name][0] != pointer:
            logger.error("version refused", extra={"collection": name, "reason": str(error)})
            self._refused[name] = (pointer, error)
            await self._notify()

    async def _notify(self) -> None:
        async with self._advanced:
            self._advanced.notify_all()
