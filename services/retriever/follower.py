"""Follows the pointers and the logs: loads what is published beside what is served, adds what is stored, and swaps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.retriever.collection import LOCK, Collection, CorruptPointer, Pointer, directories
from services.retriever.fingerprint import Fingerprint
from services.retriever.live import LiveSegment
from services.retriever.manifest import CorruptVersion, UnreadableIndex
from services.retriever.record import FILE_NAME
from services.retriever.version import EncoderMismatch, Version, load

logger = logging.getLogger(__name__)

VERDICTS = (CorruptVersion, EncoderMismatch, UnreadableIndex)
"""A version that raised one of these stays refused. Anything else may pass, and is tried again."""

FORESEEN = (CorruptPointer, *VERDICTS)
"""What callers are told as it is."""

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
"""Seconds until what may pass is tried again: twice as long each time, from the first to the last."""


class Listener(Protocol):
    """Is told what is served."""

    def served(self, collection: str, index_version: int, num_live_passages: int) -> None:
        """This version, with so many passages that were stored since."""

    def dropped(self, collection: str) -> None:
        """The collection was deleted."""


class NoSuchCollection(Exception):
    """There is no collection of that name."""


class NothingPublished(Exception):
    """The collection has no published version."""


class CannotBeLoaded(Exception):
    """Something kept the published version from being loaded, and may pass."""


@dataclass(frozen=True)
class _Refusal:
    """Of what `pointer` names, or of the pointer itself where that is None."""

    pointer: Pointer | None
    error: Exception
    delay_s: float
    retry_at: float
    """By the monotonic clock."""


class Follower:
    """The versions that this process serves. One poller loads; any number of tasks read."""

    def __init__(
        self, collections_path: Path, encoder: Fingerprint, poll_interval_s: float, listener: Listener
    ) -> None:
        self._collections_path = collections_path
        self._encoder = encoder
        self._poll_interval_s = poll_interval_s
        self._listener = listener
        self._version_by_name: dict[str, Version] = {}
        self._live_by_name: dict[str, LiveSegment] = {}
        """What was stored since each of these was published."""
        self._loading: dict[str, asyncio.Task[None]] = {}
        """Versions on their way. What is served goes on following its log meanwhile."""
        self._refused: dict[str, _Refusal] = {}
        self._advanced = asyncio.Condition()
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is published, then follow."""
        await self._look()
        await asyncio.gather(*self._loading.values())
        self._polling = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        for task in (self._polling, *self._loading.values()):
            if task:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

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
        error = self._refused[name].error
        if isinstance(error, FORESEEN):
            raise error.with_traceback(None)
        raise CannotBeLoaded(name) from error

    def _is_settled(self, name: str, at_least: int) -> bool:
        return self._is_served(name, at_least) or self._is_refused(name, at_least)

    def _is_served(self, name: str, at_least: int) -> bool:
        return name in self._version_by_name and self._version_by_name[name].index_version >= at_least

    def _is_refused(self, name: str, at_least: int) -> bool:
        """Whether the published version is refused. One that is older than what is wanted says nothing."""
        if name not in self._refused:
            return False
        pointer = self._refused[name].pointer
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
            await self._look()

    async def _look(self) -> None:
        try:
            await self._take_in()
        except Exception:  # what is served stays served; the next look may succeed
            logger.exception("a look at the collections failed")

    async def _take_in(self) -> None:
        found = await asyncio.to_thread(self._read_pointers)
        self._drop_all_but({collection.name for collection, _ in found})
        for collection, pointer in found:
            if isinstance(pointer, Exception):
                await self._refuse(collection.name, None, pointer)
            elif self._is_served_as(collection.name, pointer):
                self._refused.pop(collection.name, None)  # of a pointer that has been put right
            elif self._is_due(collection.name, pointer):
                self._begin_loading(collection, pointer)
            if collection.name in self._live_by_name:
                await self._add_stored(collection.name)

    def _drop_all_but(self, names: set[str]) -> None:
        """Of others the collection was deleted, or deleted and created again. A request that has one goes on."""
        if not (self._collections_path / LOCK).exists():
            return  # the directory itself may be out of reach: what is served stays served
        for name in self._loading.keys() - names:
            self._loading[name].cancel()
        for name in self._refused.keys() - names:
            del self._refused[name]
        for name in self._version_by_name.keys() - names:
            logger.info("collection dropped", extra={"collection": name})
            del self._version_by_name[name], self._live_by_name[name]
            self._listener.dropped(name)

    def _read_pointers(self) -> list[tuple[Collection, Pointer | Exception]]:
        """Of all collections that have a pointer. Raises OSError."""
        found: list[tuple[Collection, Pointer | Exception]] = []
        for collection in directories(self._collections_path):
            try:
                if collection.exists() and (pointer := collection.pointer()):
                    found.append((collection, pointer))
            except (CorruptPointer, OSError) as error:
                found.append((collection, error))
        return found

    def _is_served_as(self, name: str, pointer: Pointer) -> bool:
        return name in self._version_by_name and self._version_by_name[name].pointer == pointer

    def _is_due(self, name: str, pointer: Pointer) -> bool:
        if name in self._loading:
            return False
        refusal = self._refused.get(name)
        return refusal is None or refusal.pointer != pointer or time.monotonic() >= refusal.retry_at

    def _begin_loading(self, collection: Collection, pointer: Pointer) -> None:
        task = self._loading[collection.name] = asyncio.create_task(self._load(collection, pointer))
        task.add_done_callback(lambda _: self._loading.pop(collection.name))

    async def _load(self, collection: Collection, pointer: Pointer) -> None:
        try:
            version, live = await asyncio.to_thread(_open_blocking, collection, pointer, self._encoder)
        except Exception as error:  # one collection keeps no other from being served
            await self._refuse(collection.name, pointer, error)
            return
        logger.info("version served", extra={"collection": collection.name, "index_version": version.index_version})
        self._refused.pop(collection.name, None)
        self._live_by_name[collection.name] = live
        self._serve(collection.name, version)
        await self._notify()

    async def _add_stored(self, name: str) -> None:
        """Make what was stored since the last look searchable."""
        live = self._live_by_name[name]
        try:
            version = await asyncio.to_thread(live.follow)
        except Exception:  # what is served stays served; the next look begins anew
            logger.exception("a collection's log could not be followed", extra={"collection": name})
            return
        if version and self._live_by_name.get(name) is live:  # no newer version came, and it was not dropped
            self._serve(name, version)

    def _serve(self, name: str, version: Version) -> None:
        self._version_by_name[name] = version
        self._listener.served(name, version.index_version, self._live_by_name[name].num_passages)

    async def _refuse(self, name: str, pointer: Pointer | None, error: Exception) -> None:
        """Remember why, so that a version that cannot be served is not read at every look."""
        before = self._refused.get(name)
        is_same = before is not None and (before.pointer, type(before.error)) == (pointer, type(error))
        if is_same and pointer is None:
            return  # it is read at every look
        details = {"collection": name, "reason": str(error)}
        logger.error("version refused", extra=details, exc_info=None if isinstance(error, FORESEEN) else error)
        delay_s = min(LAST_RETRY_S, 2 * before.delay_s) if before and is_same else FIRST_RETRY_S
        retry_at = math.inf if isinstance(error, VERDICTS) else time.monotonic() + delay_s
        self._refused[name] = _Refusal(pointer, error, delay_s, retry_at)
        await self._notify()

    async def _notify(self) -> None:
        async with self._advanced:
            self._advanced.notify_all()


def _open_blocking(collection: Collection, pointer: Pointer, encoder: Fingerprint) -> tuple[Version, LiveSegment]:
    """With all that has been stored since: what was found before is found still."""
    version = load(collection, pointer, encoder)
    live = LiveSegment(version, collection.log_path / FILE_NAME)
    try:
        return live.follow() or version, live
    except Exception:  # the next look begins anew
        logger.exception("a collection's log could not be followed", extra={"collection": collection.name})
        return version, live
