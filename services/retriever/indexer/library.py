"""All collections of one directory, and the right to write them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from chassis.config import ConfigError
from chassis.executor import SingleThread
from services.retriever import durable
from services.retriever.analyzer import Analyzer
from services.retriever.collection import Collection, Settings, UnknownFormat, directories
from services.retriever.index_kind import FLAT, IndexKind
from services.retriever.indexer.concurrency import Turns, Undertakings
from services.retriever.indexer.lock import WriterLock
from services.retriever.indexer.log import CorruptLog
from services.retriever.indexer.publisher import Recipe
from services.retriever.indexer.versions import Retention
from services.retriever.indexer.writer import CollectionWriter
from services.retriever.metadata import NO_FIELDS, Fields


class NoSuchCollection(Exception):
    """There is no collection of that name."""


class Library:
    """One writer for each collection. No other process writes while this lives."""

    def __init__(self, collections_path: Path, recipe: Recipe, retention: Retention) -> None:
        """Take the lock and replay every log. Raises ConfigError. Blocks."""
        self._collections_path = collections_path
        self._recipe = recipe
        self._retention = retention
        self._lock = _lock(collections_path)
        self._log_thread = SingleThread("log")
        self._turns = Turns()
        """Of collections, by name."""
        self._undertakings = Undertakings()
        durable.remove_leftovers(collections_path)
        try:
            self._writer_by_name = {
                collection.name: self._open_blocking(collection)
                for collection in directories(collections_path)
                if collection.exists()
            }
        except (CorruptLog, UnknownFormat) as error:
            self._lock.release()
            raise ConfigError(str(error)) from error
        except OSError as error:
            self._lock.release()
            raise _unwritable(collections_path, error) from error

    @property
    def dimension(self) -> int:
        """Of the vectors that are written here."""
        return self._recipe.dimension

    def writer(self, name: str) -> CollectionWriter | None:
        return self._writer_by_name.get(name)

    def names(self) -> list[str]:
        return sorted(self._writer_by_name)

    async def create(
        self, name: str, analyzer: Analyzer, fields: Fields = NO_FIELDS, kind: IndexKind = FLAT
    ) -> CollectionWriter:
        """The collection of that name, made if it was not there. Raises OSError.

        A caller that leaves does not stop it.
        """
        settings = Settings(analyzer, datetime.now(UTC), fields, kind)
        return await asyncio.shield(self._undertakings.begin(self._create(name, settings)))

    async def _create(self, name: str, settings: Settings) -> CollectionWriter:
        async with self._turns.of(name):
            if name not in self._writer_by_name:
                self._writer_by_name[name] = await asyncio.to_thread(self._create_blocking, name, settings)
        return self._writer_by_name[name]

    async def delete(self, name: str) -> None:
        """Delete a collection with all that it holds; what is being written is finished first.

        A caller that leaves does not stop it. Raises NoSuchCollection. Raises OSError; then it is there as before, or
        gone with files left behind, which the next start removes.
        """
        await asyncio.shield(self._undertakings.begin(self._delete(name)))

    async def _delete(self, name: str) -> None:
        async with self._turns.of(name):
            writer = self._writer_by_name.pop(name, None)
            if writer is None:
                raise NoSuchCollection(name)
            await writer.close()
            try:
                await asyncio.to_thread(durable.remove, writer.collection.path)
            except OSError:
                if writer.collection.exists():
                    self._writer_by_name[name] = await asyncio.to_thread(self._open_blocking, writer.collection)
                raise

    async def close(self) -> None:
        """Finish what is being written, and let another process write."""
        await self._undertakings.finish()
        for writer in self._writer_by_name.values():
            await writer.close()
        self._log_thread.close()
        self._lock.release()

    def _create_blocking(self, name: str, settings: Settings) -> CollectionWriter:
        collection = Collection.named(self._collections_path, name)
        collection.create(settings)
        return self._open_blocking(collection)

    def _open_blocking(self, collection: Collection) -> CollectionWriter:
        return CollectionWriter(collection, self._recipe, self._retention, self._log_thread)


def _lock(collections_path: Path) -> WriterLock:
    try:
        collections_path.mkdir(parents=True, exist_ok=True)
        return WriterLock(collections_path)
    except OSError as error:
        raise _unwritable(collections_path, error) from error


def _unwritable(collections_path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"collections_path {collections_path}: cannot be written ({error.strerror})")
