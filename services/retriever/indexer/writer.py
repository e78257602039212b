"""One collection as its writer sees it: what the log holds, group commit, publication, rollback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from chassis.executor import SingleThread
from services.retriever import durable, fingerprint, manifest
from services.retriever.collection import Collection
from services.retriever.columns import Columns
from services.retriever.dense import Vectors
from services.retriever.filter import Filter, select
from services.retriever.indexer import advice, versions
from services.retriever.indexer.advice import Advice
from services.retriever.indexer.concurrency import Output, Turns, Undertakings
from services.retriever.indexer.documents import Documents, Stored
from services.retriever.indexer.log import Log
from services.retriever.indexer.publisher import Recipe, publish
from services.retriever.indexer.verification import LogFinding, VersionFinding, scan_log, scan_version
from services.retriever.indexer.versions import NoSuchVersion, Retention, VersionIsPublished
from services.retriever.manifest import CorruptVersion, Manifest
from services.retriever.record import Delete, Location, Record, Rollback, Upsert

logger = logging.getLogger(__name__)

COMPACTION_PASSAGES, MOST_COMPACTION_PASSAGES = 10_000, 50_000
COMPACTION_SHARE = 0.05
"""A version is made in the background once so many passages, and such a share of the published ones, were stored or
deleted since, and at the latest after the most: readers hold them beside it, at a cost that grows with them."""


class WriterClosed(Exception):
    """The collection has been deleted."""


BLOCK = 1_000
"""Documents that are read, deleted or erased at once."""


class NothingStored(Exception):
    """There never was a document to publish."""


class MadeByAnother(Exception):
    """Some stored documents were split or encoded in another way than this process would."""

    def __init__(self, num_documents: int) -> None:
        super().__init__(
            f"{num_documents:,} stored documents were made by another encoder or splitter: ingest them again"
        )


@dataclass(frozen=True)
class Verification:
    """What a collection's files hold."""

    num_deleted: int
    """Documents that were deleted and are not stored."""
    log: LogFinding
    versions: Sequence[VersionFinding]
    """Oldest first."""


class CollectionWriter:
    """Lives on the event loop; what blocks runs on the log's thread or on one of the loop's.

    Once it is closed, what writes raises WriterClosed.
    """

    def __init__(self, collection: Collection, recipe: Recipe, retention: Retention, log_thread: SingleThread) -> None:
        """Open it and replay its log. Raises CorruptLog. Blocks."""
        durable.remove_leftovers(collection.versions_path)
        self.collection = collection
        self.settings = collection.settings()
        self.made_by, self.encoded_by = fingerprint.makers(recipe.encoder, recipe.splitter)
        self.turns = Turns()
        """Of documents, by id."""
        self.published = versions.published_manifest(collection)
        self._recipe = recipe
        self._retention = retention
        self._log_thread = log_thread
        self._documents = Documents()
        """The log's own end is ahead of theirs during a commit."""
        self._pending: list[tuple[Record, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._undertakings = Undertakings()
        self._publishing = asyncio.Lock()
        self._next_publication: asyncio.Task[Manifest] | None = None
        self._verifying: asyncio.Task[Verification] | None = None
        self._advising: asyncio.Task[Advice] | None = None
        self._is_closing = False
        self._is_closed = False
        self._num_live = 0
        """Passages that were stored or deleted since the published version, replaced ones too."""
        self._next_compaction = 0
        """So many are awaited after a compaction that failed."""
        self._log = Log(collection.log_path, self._replay)
        if self.published:
            self._documents.forget_changes_before(self.published.log_end)

    @property
    def has_records(self) -> bool:
        """Whether anything was ever stored."""
        return self._documents.log_end > 0

    @property
    def num_documents(self) -> int:
        return len(self._documents)

    @property
    def num_passages(self) -> int:
        return self._documents.num_passages

    @property
    def num_unpublished(self) -> int:
        """Documents that were stored, replaced or deleted since what the published version holds."""
        return self._documents.num_changed

    def stored(self, document_id: str) -> Stored | None:
        """Raises WriterClosed."""
        self.require_open()
        return self._documents.get(document_id)

    def require_open(self) -> None:
        """Raises WriterClosed."""
        if self._is_closed:
            raise WriterClosed

    def all_stored(self) -> dict[str, Stored]:
        """The latest state of every document, by id, as it is now: a copy."""
        return self._documents.now()

    def is_current(self, document_id: str, content_hash: str) -> bool:
        """Whether this content, made as this process would, is stored already."""
        stored = self.stored(document_id)
        return stored is not None and stored.content_hash == content_hash and self.is_made_here(stored.made_by)

    def is_made_here(self, made_by: str) -> bool:
        """Whether this process would make the same of the same."""
        return made_by in (self.made_by, self.encoded_by)

    async def append(self, record: Record) -> None:
        """Take a record; it is on disk when this returns. Raises OSError, WriterClosed; then it is not in the log.

        Records that come while the disk is busy share the next fsync.
        """
        self.require_open()
        committed = asyncio.get_running_loop().create_future()
        self._pending.append((record, committed))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit())
        await committed

    async def publish(self) -> Manifest:
        """The version that holds all that is stored: a new one, or the published one if it does already.

        A caller that leaves does not stop it. Those that come while one is written share the next.

        Raises NothingStored, MadeByAnother, TooFewPassages, InvalidIndexKind, OSError.
        """
        if self._next_publication is None:
            self._next_publication = self._undertake(self._publish())
        return await asyncio.shield(self._next_publication)

    async def delete(self, document_ids: Iterable[str]) -> list[str]:
        """Delete documents; that is on disk when this returns. Which of them were stored, sorted.

        Those that a rollback might bring back are deleted, too. A caller that leaves does not stop it. Raises OSError.
        """
        return await asyncio.shield(self._undertake(self._delete(sorted(set(document_ids)))))

    async def delete_chosen(self, wanted: Filter) -> list[str]:
        """Delete the documents that the filter chooses, as they are now; that is on disk when this returns. Sorted ids.

        One that is replaced meanwhile may stay. The filter has been checked with the collection's fields. A caller
        that leaves does not stop it. Raises CorruptLog, OSError; then some of them may be deleted.
        """
        return await asyncio.shield(self._undertake(self._delete_chosen(wanted)))

    async def roll_back(self, index_version: int) -> Manifest:
        """Publish a new version with an old one's documents, but for those that were deleted since.

        What was stored since stays in the log, unseen. A caller that leaves does not stop it.

        Raises NoSuchVersion, CorruptVersion, MadeByAnother: then nothing has changed. Raises TooFewPassages, OSError:
        then it may be in the log, and the next publication carries it out.
        """
        return await asyncio.shield(self._undertake(self._roll_back(index_version)))

    async def versions(self) -> list[Manifest]:
        """The versions that are kept and can be read, oldest first. Raises OSError."""
        kept = await asyncio.to_thread(versions.kept, self.collection)
        return [version for version in kept.values() if version]

    async def versions_holding(self, document_ids: Sequence[str]) -> list[int]:
        """The versions that are kept and hold any of these documents, or may, being damaged. Raises OSError."""
        kept = await asyncio.to_thread(versions.kept, self.collection)
        return [
            number
            for number, version in kept.items()
            if version is None or await self._is_any_held_at(document_ids, version.log_end)
        ]

    async def purge(self, document_ids: Sequence[str]) -> None:
        """Delete the versions that hold any of these documents, but for the published one.

        A caller that leaves does not stop it. Raises CorruptPointer, OSError.
        """
        await asyncio.shield(self._undertake(self._purge(document_ids)))

    async def verify(self) -> Verification:
        """Read the log and every version that is kept, whole. Callers share the one that runs. Raises OSError."""
        if self._verifying is None:
            self._verifying = self._undertake(self._verify())
        return await asyncio.shield(self._verifying)

    async def advise(self) -> Advice:
        """Which index kind suits what is stored. Callers share the one that runs. Raises MadeByAnother, OSError."""
        if self._advising is None:
            self._advising = self._undertake(self._advise())
        return await asyncio.shield(self._advising)

    async def delete_versions(self, index_versions: Iterable[int]) -> None:
        """Delete the files of versions. A caller that leaves does not stop it.

        Raises NoSuchVersion, VersionIsPublished, CorruptPointer, OSError.
        """
        await asyncio.shield(self._undertake(self._delete_versions(index_versions)))

    async def close(self) -> None:
        """Finish what is being written. What is begun from now on raises WriterClosed."""
        self._is_closing = True
        await self._undertakings.finish()
        while self._committing:
            await asyncio.wait([self._committing])
        self._is_closed = True
        self._log.close()

    def _undertake(self, work: Coroutine[Any, Any, Output]) -> asyncio.Task[Output]:
        if self._is_closing:
            work.close()
            raise WriterClosed
        return self._undertakings.begin(work)

    def _replay(self, location: Location, record: Record) -> None:
        if self.published is None or location.offset >= self.published.log_end:
            self._num_live += self._num_passages(record)
        self._documents.apply(location, record)

    async def _commit(self) -> None:
        while self._pending:
            group, self._pending = self._pending, []
            records = [record for record, _ in group]
            try:
                locations = await self._log_thread.run(self._log.append, records)
            except Exception as error:
                _settle(group, error)
                continue
            for record, location in zip(records, locations, strict=True):
                self._num_live += self._num_passages(record)
                self._documents.apply(location, record)
            _settle(group, None)
            self._compact_if_due()
        self._committing = None

    def _num_passages(self, record: Record) -> int:
        """How many it stores or deletes."""
        match record:
            case Upsert():
                return len(record.passages)
            case Delete(document_ids):
                stored = (self._documents.get(document_id) for document_id in document_ids)
                return sum(one.num_passages for one in stored if one)
        return 0

    def _compact_if_due(self) -> None:
        """The first version is its owner's to publish; later ones come by themselves, too."""
        if self.published is None or self._is_closing or self._publishing.locked() or self._next_publication:
            return
        share = min(int(COMPACTION_SHARE * self.published.num_passages), MOST_COMPACTION_PASSAGES)
        if self._num_live >= max(COMPACTION_PASSAGES, share, self._next_compaction):
            self._undertakings.begin(self._compact())

    async def _compact(self) -> None:
        details = {"collection": self.collection.name, "num_passages": self._num_live}
        try:
            logger.info("compaction begins", extra=details)
            await self.publish()
            self._next_compaction = 0
        except Exception:  # nobody waits for it; what is stored stays stored
            logger.exception("compaction failed: tried again after as many passages more", extra=details)
            self._next_compaction = 2 * self._num_live

    async def _is_any_held_at(self, document_ids: Sequence[str], log_end: int) -> bool:
        for begin in range(0, len(document_ids), BLOCK):
            if any(self._documents.is_held_at(name, log_end) for name in document_ids[begin : begin + BLOCK]):
                return True
            await asyncio.sleep(0)  # others go on
        return False

    async def _delete_chosen(self, wanted: Filter) -> list[str]:
        async with self._publishing:  # nothing is erased while the log is read
            stored = self._documents.now()
            chosen = await asyncio.to_thread(self._chosen_blocking, wanted, stored)
        deleted: list[str] = []
        for begin in range(0, len(chosen), BLOCK):
            deleted += await self._delete(chosen[begin : begin + BLOCK], stored)
        return deleted

    def _chosen_blocking(self, wanted: Filter, stored: Mapping[str, Stored]) -> list[str]:
        """The ids of documents whose metadata, as it is in the log, the filter chooses. Sorted."""
        chosen: list[str] = []
        in_order = sorted(stored, key=lambda name: stored[name].location.offset)
        for begin in range(0, len(in_order), BLOCK):
            names = in_order[begin : begin + BLOCK]
            passages = [self._log.read(stored[name].location).passages[0] for name in names]
            rows = select(wanted, Columns.of(passages, self.settings.fields))
            chosen += (name for name, is_chosen in zip(names, rows, strict=True) if is_chosen)
        return sorted(chosen)

    async def _delete(self, document_ids: Sequence[str], as_of: Mapping[str, Stored] | None = None) -> list[str]:
        """With `as_of` only those that are still as they were then."""
        async with AsyncExitStack() as turns:
            for document_id in document_ids:  # sorted, so that two callers never wait crosswise
                await turns.enter_async_context(self.turns.of(document_id))
            if as_of is not None:
                document_ids = [name for name in document_ids if self._documents.get(name) == as_of[name]]
            stored = [document_id for document_id in document_ids if self._documents.get(document_id)]
            if seen := [document_id for document_id in document_ids if self._documents.may_be_seen(document_id)]:
                await self.append(Delete(tuple(seen)))
            return stored

    async def _purge(self, document_ids: Sequence[str]) -> None:
        async with self._publishing:
            for index_version in await self.versions_holding(document_ids):
                with suppress(VersionIsPublished):
                    await asyncio.to_thread(versions.delete, self.collection, index_version)

    async def _verify(self) -> Verification:
        try:
            deleted = self._documents.deleted()
            log = await asyncio.to_thread(scan_log, self._log, self._documents.log_end, deleted)
            found = []
            for number in await asyncio.to_thread(versions.kept, self.collection):
                if self._is_closing:
                    break
                async with self._publishing:  # one at a time: publications go between
                    with suppress(NoSuchVersion):  # retired since
                        found.append(await asyncio.to_thread(scan_version, self.collection, number, deleted))
            return Verification(len(deleted), log, found)
        finally:
            self._verifying = None

    async def _advise(self) -> Advice:
        try:
            async with self._publishing:  # which overwrites what was deleted
                stored = self._documents.now()
                self._require_made_here(stored)
                num_passages = sum(one.num_passages for one in stored.values())
                sample = await asyncio.to_thread(self._sample_blocking, stored)
            dimension, kind = self._recipe.dimension, self.settings.kind
            return await asyncio.to_thread(advice.advise, sample, num_passages, dimension, kind)
        finally:
            self._advising = None

    def _sample_blocking(self, stored: Mapping[str, Stored]) -> Vectors:
        locations = advice.draw_documents(stored)
        vectors = [np.empty((0, self._recipe.dimension), np.float32)]
        vectors += [self._log.read(location).vectors for location in locations]
        return np.concatenate(vectors)[: advice.SAMPLE]

    async def _delete_versions(self, index_versions: Iterable[int]) -> None:
        async with self._publishing:
            for index_version in index_versions:
                await asyncio.to_thread(versions.delete, self.collection, index_version)

    async def _publish(self) -> Manifest:
        async with self._publishing:
            self._next_publication = None  # who comes from now on may have stored more
            return await self._publish_now(None)

    async def _roll_back(self, index_version: int) -> Manifest:
        async with self._publishing:
            old = await asyncio.to_thread(versions.read, self.collection, index_version)
            if old.log_end > self._documents.log_end:
                raise CorruptVersion(f"version {index_version}: of another log than this collection's")
            self._require_made_here(self._documents.rolled_back(old.log_end))
            await self.append(Rollback(old.log_end))
            return await self._publish_now(old)

    async def _publish_now(self, like: Manifest | None) -> Manifest:
        """`like` may hold the very documents that are stored."""
        stored, log_end, num_live = self._documents.now(), self._documents.log_end, self._num_live
        if like and stored != self._documents.at(like.log_end):
            like = None
        self.published = await asyncio.to_thread(self._publish_blocking, stored, log_end, like)
        self._documents.forget_changes_before(self.published.log_end)
        self._num_live -= num_live
        await asyncio.to_thread(versions.retire, self.collection, self._retention)
        await self._erase_deleted(log_end)
        return self.published

    async def _erase_deleted(self, log_end: int) -> None:
        """Contents of what had been deleted by then are in no version to come, and no publication reads them now."""
        locations = self._documents.to_erase(log_end)
        for begin in range(0, len(locations), BLOCK):  # all collections' appends go between
            erased = locations[begin : begin + BLOCK]
            await self._log_thread.run(self._log.erase, erased)
            self._documents.note_erased(set(erased))

    def _publish_blocking(self, stored: Mapping[str, Stored], log_end: int, like: Manifest | None) -> Manifest:
        """Rows are in the order of document ids: the same documents give the same version, however they came."""
        if not log_end:
            raise NothingStored
        self._require_made_here(stored)
        published = versions.published_manifest(self.collection)  # as it is on disk now, not as it was
        if published and self._is_as_would_be(published, log_end) and _is_whole(self.collection, published):
            return published
        locations = [stored[document_id].location for document_id in sorted(stored)]
        return publish(self.collection, self.settings, self._log, locations, log_end, self._recipe, like)

    def _require_made_here(self, stored: Mapping[str, Stored]) -> None:
        if others := sum(not self.is_made_here(one.made_by) for one in stored.values()):
            raise MadeByAnother(others)

    def _is_as_would_be(self, published: Manifest, log_end: int) -> bool:
        recipe = Recipe(published.encoder, published.splitter, published.dimension)
        return recipe == self._recipe and published.log_end == log_end


def _settle(group: list[tuple[Record, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, committed in group:
        if committed.done():  # its caller left
            continue
        if error:
            committed.set_exception(error)
        else:
            committed.set_result(None)


def _is_whole(collection: Collection, published: Manifest) -> bool:
    """Whether every file of the version is as it was written. Reads them all."""
    try:
        manifest.verify(collection.version_path(published.index_version), published)
    except CorruptVersion:
        return False
    return True
