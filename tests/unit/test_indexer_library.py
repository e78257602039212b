"""All collections of a directory: how they come to be, and who may write."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chassis.config import ConfigError
from services.retriever import durable
from services.retriever.analyzer import Analyzer
from services.retriever.collection import LOCK
from services.retriever.indexer.library import Library, NoSuchCollection
from services.retriever.indexer.writer import WriterClosed
from tests.unit.collections_on_disk import RECIPE, RETENTION, create, record, until

ENGLISH = Analyzer.of()


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_a_caller_that_leaves_while_a_collection_is_created_does_not_stop_it(tmp_path: Path) -> None:
    library = Library(tmp_path, RECIPE, RETENTION)
    creating = asyncio.create_task(library.create("docs", ENGLISH))
    await asyncio.sleep(0)  # it is begun
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    await until((tmp_path / "docs").exists)
    assert (await library.create("docs", ENGLISH)).collection.name == "docs"
    assert library.names() == ["docs"]
    await library.close()


async def test_closing_waits_for_a_creation_whose_caller_has_left(tmp_path: Path) -> None:
    library = Library(tmp_path, RECIPE, RETENTION)
    creating = asyncio.create_task(library.create("docs", ENGLISH))
    await asyncio.sleep(0)  # it is begun
    creating.cancel()
    await library.close()
    assert creating.cancelled()
    again = Library(tmp_path, RECIPE, RETENTION)
    assert again.names() == ["docs"]
    await again.close()


async def test_a_creation_that_failed_half_way_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path, RECIPE, RETENTION)
    with monkeypatch.context() as full_disk:
        real = durable.sync_directory

        def refuse(directory: Path) -> None:
            if directory == tmp_path:
                raise OSError(28, "No space left on device")
            real(directory)

        full_disk.setattr(durable, "sync_directory", refuse)
        with pytest.raises(OSError, match="No space"):
            await library.create("docs", ENGLISH)
    assert (tmp_path / "docs").exists(), "the fault came after the rename"
    writer = await library.create("docs", ENGLISH)
    assert library.writer("docs") is writer
    await library.close()


async def test_a_collection_that_appeared_on_disk_keeps_its_settings(tmp_path: Path) -> None:
    library = Library(tmp_path, RECIPE, RETENTION)
    create(tmp_path)
    writer = await library.create("docs", Analyzer.of("de"))
    assert writer.settings.analyzer == ENGLISH
    await library.close()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"collections_path .*/file/collections: cannot be written"):
        Library(tmp_path / "file" / "collections", RECIPE, RETENTION)


async def test_a_collection_is_deleted_whole_once_what_is_written_is_finished(tmp_path: Path) -> None:
    library = Library(tmp_path, RECIPE, RETENTION)
    writer = await library.create("docs", ENGLISH)
    await writer.append(record(writer, "a", "the pointer"))
    publishing = asyncio.create_task(writer.publish())
    await asyncio.sleep(0)  # it is begun
    await library.delete("docs")
    assert (await publishing).index_version == 1
    assert (library.names(), library.writer("docs")) == ([], None)
    assert names(tmp_path) == [LOCK]
    with pytest.raises(WriterClosed):
        writer.is_current("a", repr(("the pointer",)))
    for late in (writer.append(record(writer, "b", "too late")), writer.publish(), writer.delete(["a"])):
        with pytest.raises(WriterClosed):
            await late
    with pytest.raises(NoSuchCollection):
        await library.delete("docs")
    await library.close()


async def test_a_collection_that_cannot_be_deleted_is_there_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(tmp_path, RECIPE, RETENTION)
    writer = await library.create("docs", ENGLISH)
    await writer.append(record(writer, "a", "the pointer"))

    def refuse(directory: Path) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as read_only:
        read_only.setattr(durable, "remove", refuse)
        with pytest.raises(OSError, match="Read-only"):
            await library.delete("docs")
    again = library.writer("docs")
    assert again is not None
    assert again.num_documents == 1
    await library.close()


async def test_a_deletion_that_was_killed_half_way_is_finished_at_the_next_start(tmp_path: Path) -> None:
    collection = create(tmp_path)
    collection.path.rename(tmp_path / ".docs.removed")
    library = Library(tmp_path, RECIPE, RETENTION)
    assert library.names() == []
    assert names(tmp_path) == [LOCK]
    await library.close()
