"""One collection as its writer sees it: what the log holds, group commit, publication."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from chassis.executor import SingleThread
from services.retriever import fingerprint, manifest
from services.retriever.collection import Collection, CorruptPointer
from services.retriever.indexer.concurrency import Turns, Undertakings
from services.retriever.indexer.log import Location, Log, Upsert
from services.retriever.indexer.publisher import Recipe, publish
from services.retriever.manifest import CorruptVersion, Manifest


class NothingStored(Exception):
    """There is no document to publish."""


class MadeByAnother(Exception):
    """Some stored documents were split or encoded in another way than this process would."""

    def __init__(self, num_documents: int) -> None:
        super().__init__(
            f"{num_documents:,} stored documents were made by another encoder or splitter: ingest them again"
        )


@dataclass(frozen=True)
class Stored:
    """The latest state of one document."""

    location: Location
    content_hash: str
    made_by: str
    num_passages: int


class CollectionWriter:
    """Lives on the event loop; what blocks runs on the log's thread or on one of the loop's."""

    def __init__(self, collection: Collection, recipe: Recipe, log_thread: SingleThread) -> None:
        """Open it and replay its log. Raises CorruptLog. Blocks."""
        self.collection = collection
        self.settings = collection.settings()
        self.made_by = fingerprint.digest({**recipe.encoder, **recipe.splitter})
        self.turns = Turns()
        """Of documents, by id."""
        self.num_passages = 0
        self.published = _published(collection)
        self._recipe = recipe
        self._log_thread = log_thread
        self._stored: dict[str, Stored] = {}
        self._stored_end = 0
        """Offset in the log up to which `_stored` holds it. The log's own end is ahead of it during a commit."""
        self._unpublished: set[str] = set()
        self._pending: list[tuple[Upsert, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._publications = Undertakings()
        self._publishing = asyncio.Lock()
        self._next_publication: asyncio.Task[Manifest] | None = None
        self._log = Log(collection.log_path, self._apply)

    @property
    def num_documents(self) -> int:
        return len(self._stored)

    @property
    def num_unpublished(self) -> int:
        """Documents whose latest state the published version does not hold."""
        return len(self._unpublished)

    def stored(self, document_id: str) -> Stored | None:
        return self._stored.get(document_id)

    def all_stored(self) -> dict[str, Stored]:
        """The latest state of every document, by id, as it is now: a copy."""
        return dict(self._stored)

    def is_current(self, document_id: str, content_hash: str) -> bool:
        """Whether this content, made as this process would, is stored already."""
        stored = self._stored.get(document_id)
        return stored is not None and (stored.content_hash, stored.made_by) == (content_hash, self.made_by)

    async def append(self, record: Upsert) -> None:
        """Store a document; it is on disk when this returns. Raises OSError; then it is not stored.

        Records that come while the disk is busy share the next fsync.
        """
        committed = asyncio.get_running_loop().create_future()
        self._pending.append((record, committed))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit())
        await committed

    async def publish(self) -> Manifest:
        """The version that holds all that is stored: a new one, or the published one if it does already.

        A caller that leaves does not stop it. Those that come while one is written share the next.

        Raises NothingStored, MadeByAnother, OSError.
        """
        if self._next_publication is None:
            self._next_publication = self._publications.begin(self._publish())
        return await asyncio.shield(self._next_publication)

    async def close(self) -> None:
        """Finish what is being written."""
        if self._committing:
            await asyncio.wait([self._committing])
        await self._publications.finish()
        self._log.close()

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
                self._apply(location, record)
            _settle(group, None)
        self._committing = None

    def _apply(self, location: Location, record: Upsert) -> None:
        if before := self._stored.get(record.document_id):
            self.num_passages -= before.num_passages
        self.num_passages += len(record.passages)
        self._stored[record.document_id] = Stored(location, record.content_hash, record.made_by, len(record.passages))
        self._stored_end = location.offset + location.length
        if self.published is None or location.offset >= self.published.log_end:
            self._unpublished.add(record.document_id)

    async def _publish(self) -> Manifest:
        async with self._publishing:
            self._next_publication = None  # who comes from now on may have stored more
            stored, log_end = self.all_stored(), self._stored_end
            self.published = await asyncio.to_thread(self._publish_blocking, stored, log_end)
            self._forget_published(self.published.log_end)
            return self.published

    def _publish_blocking(self, stored: Mapping[str, Stored], log_end: int) -> Manifest:
        """Rows are in the order of document ids: the same documents give the same version, however they came."""
        if not stored:
            raise NothingStored
        if others := sum(one.made_by != self.made_by for one in stored.values()):
            raise MadeByAnother(others)
        published = _published(self.collection)  # as it is on disk now, not as it was
        if published and self._is_as_would_be(published, log_end) and _is_whole(self.collection, published):
            return published
        locations = [stored[document_id].location for document_id in sorted(stored)]
        return publish(self.collection, self.settings.analyzer, self._log, locations, log_end, self._recipe)

    def _is_as_would_be(self, published: Manifest, log_end: int) -> bool:
        recipe = Recipe(published.encoder, published.splitter, published.dimension)
        return recipe == self._recipe and published.log_end == log_end

    def _forget_published(self, log_end: int) -> None:
        self._unpublished = {
            document_id for document_id in self._unpublished if self._stored[document_id].location.offset >= log_end
        }


def _settle(group: list[tuple[Upsert, asyncio.Future[None]]], error: Exception | None) -> None:
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


def _published(collection: Collection) -> Manifest | None:
    """The published version's manifest; None when there is none, or it is not what was published."""
    try:
        pointer = collection.pointer()
        return (
            manifest.read(collection.version_path(pointer.index_version), pointer.manifest_sha256) if pointer else None
        )
    except (CorruptPointer, CorruptVersion):
        return None
