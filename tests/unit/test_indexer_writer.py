"""The writer of a collection: what it stores, what it publishes, what a crash leaves."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chassis.config import ConfigError
from chassis.executor import Output, SingleThread
from services.retriever import durable, manifest
from services.retriever.collection import Collection
from services.retriever.indexer import writer as writers
from services.retriever.indexer.lock import WriterLock
from services.retriever.indexer.writer import CollectionWriter, MadeByAnother, NothingStored
from tests.unit.collections_on_disk import (
    ENCODER,
    RECIPE,
    RETENTION,
    create,
    file_size_limit,
    open_writer,
    published,
    record,
    until,
)


def texts(collection: Collection) -> list[str]:
    version = published(collection)
    return [passage.text for passage in version.sparse.passages(range(version.sparse.num_passages))]


async def put(writer: CollectionWriter, document_id: str, *passages: str) -> None:
    await writer.append(record(writer, document_id, *passages))


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one", "two")
    await put(writer, "b", "three")
    await put(writer, "a", "four")
    again = open_writer(collection)
    assert (again.num_documents, again.num_passages, again.num_unpublished) == (2, 2, 2)
    assert again.is_current("a", repr(("four",)))
    assert not again.is_current("a", repr(("one", "two")))


async def test_records_that_come_together_are_committed_as_one_group(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await asyncio.gather(*(put(writer, f"d{number}", "text") for number in range(50)))
    assert writer.num_documents == 50
    data = (collection.log_path / "000001.log").read_bytes()
    groups = {data[at + 12 : at + 20] for at in range(len(data)) if data[at : at + 4] == b"TRV1"}
    assert len(groups) <= 3, "the first one alone, the rest while the disk was busy"


async def test_a_caller_that_leaves_does_not_disturb_the_others(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path))
    tasks = [asyncio.create_task(put(writer, f"d{number}", "text")) for number in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in outcomes] == [False, False, True, False, False]
    await put(writer, "last", "text")
    assert writer.stored("d4")


async def test_rows_are_in_the_order_of_document_ids_however_documents_came(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    for document_id in ("c", "a", "b"):
        await put(writer, document_id, f"{document_id} 1", f"{document_id} 2")
    await writer.publish()
    assert texts(collection) == ["a 1", "a 2", "b 1", "b 2", "c 1", "c 2"]


async def test_both_legs_of_a_version_hold_the_same_rows(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "short", "a much longer passage")
    await put(writer, "b", "middle one")
    await writer.publish()
    version = published(collection)
    longest = record(writer, "x", "a much longer passage").vectors[0]
    [best, *_] = version.dense.search(longest, 3)
    assert version.sparse.passages([best.row])[0].text == "a much longer passage"
    assert [one.row for one in version.sparse.search("longer", 3)] == [best.row]


async def test_publishing_without_a_change_returns_the_version_that_is_there(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    assert writer.num_unpublished == 1
    assert (await writer.publish()).index_version == 1
    assert writer.num_unpublished == 0
    assert (await writer.publish()).index_version == 1
    again = open_writer(collection)
    assert (again.num_unpublished, (await again.publish()).index_version) == (0, 1)
    await put(again, "b", "two")
    assert again.num_unpublished == 1
    assert (await again.publish()).index_version == 2


async def test_a_version_holds_the_latest_state_of_each_document(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one", "two")
    await writer.publish()
    await put(writer, "a", "three")
    described = await writer.publish()
    assert (described.index_version, described.num_documents, described.num_passages) == (2, 1, 1)
    assert texts(collection) == ["three"]


async def test_what_is_stored_during_a_publication_waits_for_the_next(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    publication = asyncio.create_task(writer.publish())
    await asyncio.sleep(0)
    await put(writer, "b", "two")
    assert (await publication).num_documents == 1
    assert writer.num_unpublished == 1
    assert (await writer.publish()).num_documents == 2


async def test_an_empty_collection_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(NothingStored):
        await open_writer(create(tmp_path)).publish()


async def test_documents_of_another_encoder_are_not_published_until_they_are_stored_again(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await put(open_writer(collection), "a", "one")
    writer = open_writer(collection, replace(RECIPE, encoder={**ENCODER, "weights": "def"}))
    assert not writer.is_current("a", repr(("one",)))
    with pytest.raises(MadeByAnother, match="1 stored"):
        await writer.publish()
    await put(writer, "a", "one")
    assert (await writer.publish()).num_documents == 1


async def test_what_a_killed_publication_left_is_never_taken_for_a_version(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await writer.publish()
    for leftover in (collection.version_path(2), collection.versions_path / ".000002.partial"):
        (leftover / "sparse").mkdir(parents=True)
        (leftover / "dense.faiss").write_bytes(b"half a file")
    assert texts(collection) == ["one"]
    await put(writer, "a", "two")
    assert (await writer.publish()).index_version == 3
    assert texts(collection) == ["two"]
    assert [path.name for path in sorted(collection.versions_path.iterdir())] == ["000001", "000002", "000003"]


async def test_a_published_manifest_that_is_damaged_is_replaced_by_a_new_version(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await writer.publish()
    (collection.version_path(1) / manifest.NAME).write_bytes(b"{}")
    assert (await open_writer(collection).publish()).index_version == 2


async def test_a_published_version_with_a_damaged_file_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await writer.publish()
    damaged = collection.version_path(1) / "dense.faiss"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert (await writer.publish()).index_version == 2
    assert texts(collection) == ["one"]


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
        WriterLock(tmp_path)
    lock.release()
    WriterLock(tmp_path).release()


class HeldThread(SingleThread):
    """What was done on it is heard of only when `released`."""

    def __init__(self) -> None:
        super().__init__("log")
        self.released = asyncio.Event()
        self.released.set()

    async def run(self, function: Callable[..., Output], *arguments: Any) -> Output:
        output = await super().run(function, *arguments)
        await self.released.wait()
        return output


async def test_a_document_that_reaches_the_disk_during_a_publication_is_not_taken_for_published(
    tmp_path: Path,
) -> None:
    collection, thread = create(tmp_path), HeldThread()
    writer = CollectionWriter(collection, RECIPE, RETENTION, thread)
    await put(writer, "a", "one")
    file = collection.log_path / "000001.log"
    size = file.stat().st_size
    thread.released.clear()
    putting = asyncio.create_task(put(writer, "b", "two"))
    await until(lambda: file.stat().st_size > size)
    assert (await writer.publish()).num_documents == 1
    thread.released.set()
    await putting
    assert writer.num_unpublished == 1
    described = await writer.publish()
    assert (described.index_version, described.num_documents) == (2, 2)
    assert texts(collection) == ["one", "two"]


class SlowDisk:
    """Takes a while for a version, and sees how many are written at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.running, self.most = 0, 0, 0
        self._sync_tree = durable.sync_tree
        monkeypatch.setattr(durable, "sync_tree", self._sync_slowly)

    def _sync_slowly(self, directory: Path) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.1)
        self._sync_tree(directory)
        self.running -= 1

    async def cancel_when_it_writes(self, publishing: asyncio.Task[Any]) -> None:
        await until(lambda: self.running > 0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing


async def test_a_caller_that_leaves_a_publication_does_not_make_room_for_a_second_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await disk.cancel_when_it_writes(asyncio.create_task(writer.publish()))
    await put(writer, "b", "two")
    assert (await writer.publish()).index_version == 2
    assert (disk.begun, disk.most) == (2, 1)
    assert texts(collection) == ["one", "two"]


async def test_callers_that_come_during_a_publication_share_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    writer = open_writer(create(tmp_path))
    await put(writer, "a", "one")
    await disk.cancel_when_it_writes(asyncio.create_task(writer.publish()))
    publishing = [asyncio.create_task(writer.publish()) for _ in range(5)]
    await put(writer, "b", "two")
    assert {(await one).index_version for one in publishing} == {2}
    assert disk.begun == 2


async def test_closing_waits_for_a_publication_whose_caller_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await disk.cancel_when_it_writes(asyncio.create_task(writer.publish()))
    await writer.close()
    assert texts(collection) == ["one"]


async def test_a_version_that_the_disk_refuses_leaves_no_trace(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one " * 1_000)
    with file_size_limit(1_000), pytest.raises(OSError, match="File too large") as refused:
        await writer.publish()
    assert refused.value.errno == errno.EFBIG
    assert list(collection.versions_path.iterdir()) == []
    assert (await writer.publish()).index_version == 1


async def test_a_pointer_that_the_disk_refuses_leaves_no_version(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    (collection.path / ".published.partial").mkdir()  # where the pointer is written first
    with pytest.raises(IsADirectoryError):
        await writer.publish()
    assert list(collection.versions_path.iterdir()) == []


@pytest.mark.parametrize("pointer", ["nonsense", None], ids=["corrupt", "gone"])
async def test_without_a_pointer_numbers_go_on_and_versions_stay(tmp_path: Path, pointer: str | None) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await writer.publish()
    before = manifest.describe(collection.version_path(1))
    if pointer is None:
        (collection.path / "published").unlink()
    else:
        (collection.path / "published").write_text(pointer)
    assert (await writer.publish()).index_version == 2
    assert manifest.describe(collection.version_path(1)) == before
    assert texts(collection) == ["one"]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "COMPACTION_PASSAGES", 3)


async def version_of(collection: Collection, index_version: int) -> None:
    await until(lambda: (pointer := collection.pointer()) is not None and pointer.index_version == index_version)


async def test_much_that_was_stored_becomes_a_version_by_itself(tmp_path: Path, eager: None) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one", "two", "three")
    assert writer.published is None, "the first version is its owner's to publish"
    await writer.publish()
    await put(writer, "a", "four", "five")
    await put(writer, "b", "six")
    await version_of(collection, 2)
    assert texts(collection) == ["four", "five", "six"]
    await put(writer, "c", "seven", "eight")
    await writer.close()
    assert (published(collection).index_version, writer.num_unpublished) == (2, 1)


async def test_a_restarted_writer_knows_how_much_waits_for_a_version(tmp_path: Path, eager: None) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one", "two", "three")
    await writer.publish()
    await put(writer, "b", "four", "five")
    await writer.close()
    writer = open_writer(collection)
    await put(writer, "c", "six")
    await version_of(collection, 2)
    await writer.close()


async def test_a_compaction_that_fails_is_tried_again_later(
    tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, "a", "one")
    await writer.publish()
    with monkeypatch.context() as full:
        full.setattr(writers, "publish", lambda *_: raise_full())
        await put(writer, "b", "two", "three", "four")
        await until(lambda: "compaction failed" in caplog.text)
    await put(writer, "c", "five", "six")
    assert writer.published is not None
    assert writer.published.index_version == 1
    await put(writer, "d", "seven")
    await version_of(collection, 2)
    await writer.close()


def raise_full() -> None:
    raise OSError(errno.ENOSPC, "no room")
