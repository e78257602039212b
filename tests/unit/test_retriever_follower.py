"""A retriever follows what is published."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.retriever import follower as followers
from services.retriever.collection import LOCK, Collection, CorruptPointer, Pointer
from services.retriever.follower import CannotBeLoaded, Follower, NoSuchCollection, NothingPublished
from services.retriever.live import LiveSegment
from services.retriever.manifest import CorruptVersion
from services.retriever.record import Record
from services.retriever.version import EncoderMismatch, Version, load
from tests.unit.collections_on_disk import DIMENSION, ENCODER, RECIPE, create, open_writer, publish_texts, record, until


class Told:
    """Keeps what it is told."""

    def __init__(self, changes: list[tuple[str, int]]) -> None:
        self._changes = changes

    def served(self, collection: str, index_version: int, num_live_passages: int) -> None:
        self._changes.append((collection, index_version))

    def dropped(self, collection: str) -> None:
        self._changes.append((collection, 0))


@asynccontextmanager
async def following(
    collections_path: Path, encoder: dict[str, str] = ENCODER, changes: list[tuple[str, int]] | None = None
) -> AsyncIterator[Follower]:
    follower = Follower(collections_path, encoder, 0.01, Told(changes if changes is not None else []))
    await follower.start()
    try:
        async with asyncio.timeout(10):
            yield follower
    finally:
        await follower.stop()


async def test_what_was_published_before_the_start_is_served_from_the_start(tmp_path: Path) -> None:
    await publish_texts(create(tmp_path), a="the pointer")
    async with following(tmp_path) as follower:
        assert (await follower.version("docs")).index_version == 1


async def test_no_collections_at_all_is_no_error(tmp_path: Path) -> None:
    async with following(tmp_path / "absent") as follower:
        with pytest.raises(NoSuchCollection):
            await follower.version("docs")


async def test_a_collection_without_a_version_says_so(tmp_path: Path) -> None:
    create(tmp_path)
    async with following(tmp_path) as follower:
        with pytest.raises(NothingPublished):
            await follower.version("docs")


async def test_waiting_for_a_version_ends_when_it_is_published(tmp_path: Path) -> None:
    collection = create(tmp_path)
    changes: list[tuple[str, int]] = []
    async with following(tmp_path, changes=changes) as follower:
        waiting = [asyncio.create_task(follower.version("docs", at_least)) for at_least in (1, 2)]
        await publish_texts(collection, a="the pointer")
        assert (await waiting[0]).index_version == 1
        assert not waiting[1].done()
        await publish_texts(collection, b="the log")
        version = await waiting[1]
        assert version.index_version == 2
        assert [passage.document_id for passage in version.sparse.passages([0, 1])] == ["a", "b"]
    assert list(dict.fromkeys(changes)) == [("docs", 1), ("docs", 2)]


async def test_waiting_for_a_version_of_nothing_is_refused_at_once(tmp_path: Path) -> None:
    async with following(tmp_path) as follower:
        with pytest.raises(NoSuchCollection):
            await follower.version("docs", 1)


async def test_a_request_keeps_its_version_while_a_newer_one_is_served(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    async with following(tmp_path) as follower:
        old = await follower.version("docs")
        await publish_texts(collection, a="the log")
        assert (await follower.version("docs", 2)).sparse.passages([0])[0].text == "the log"
        assert old.sparse.passages([0])[0].text == "the pointer"


async def test_a_version_that_fails_verification_is_refused_and_the_one_before_goes_on(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    async with following(tmp_path) as follower:
        collection.flip(Pointer(2, "0" * 64))
        with pytest.raises(CorruptVersion, match=r"manifest\.json"):
            await follower.version("docs", 2)
        assert (await follower.version("docs")).index_version == 1
        await publish_texts(collection, b="the log")
        assert (await follower.version("docs", 3)).index_version == 3


async def test_a_pointer_that_says_nothing_is_refused_and_the_version_before_goes_on(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    async with following(tmp_path) as follower:
        (collection.path / "published").write_text("nonsense")
        with pytest.raises(CorruptPointer):
            await follower.version("docs", 2)
        assert (await follower.version("docs")).index_version == 1


async def test_one_collection_that_cannot_be_read_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    create(tmp_path, "broken").flip(Pointer(1, "0" * 64))
    await publish_texts(create(tmp_path, "whole"), a="the pointer")
    async with following(tmp_path) as follower:
        assert (await follower.version("whole")).index_version == 1
        for _ in range(3):
            with pytest.raises(CorruptVersion):
                await follower.version("broken")


async def test_another_encoders_version_is_refused_and_the_one_before_goes_on(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    async with following(tmp_path) as follower:
        other = replace(RECIPE, encoder={**ENCODER, "weights": "def"})
        await publish_texts(collection, other, a="the pointer")
        with pytest.raises(EncoderMismatch):
            await follower.version("docs", 2)
        assert (await follower.version("docs")).index_version == 1
    async with following(tmp_path) as restarted:
        with pytest.raises(EncoderMismatch):
            await restarted.version("docs")


async def test_a_pointer_that_the_disk_does_not_give_keeps_no_other_collection_from_being_served(
    tmp_path: Path,
) -> None:
    broken = create(tmp_path, "broken")
    await publish_texts(broken, a="the log")
    pointer = (broken.path / "published").read_text()
    (broken.path / "published").unlink()
    (broken.path / "published").mkdir()  # reading it is an error that no version is guilty of
    await publish_texts(create(tmp_path, "whole"), a="the pointer")
    changes: list[tuple[str, int]] = []
    async with following(tmp_path, changes=changes) as follower:
        assert (await follower.version("whole")).index_version == 1
        with pytest.raises(CannotBeLoaded):
            await follower.version("broken")
        (broken.path / "published").rmdir()
        (broken.path / "published").write_text(pointer)
        await until(lambda: ("broken", 1) in changes)
        assert (await follower.version("broken")).index_version == 1


async def test_what_may_pass_is_tried_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "FIRST_RETRY_S", 0.05)
    looked: list[float] = []

    def load_later(collection: Collection, pointer: Pointer, encoder: dict[str, str]) -> Version:
        looked.append(time.monotonic())
        if len(looked) < 3:
            raise MemoryError
        return load(collection, pointer, encoder)

    monkeypatch.setattr(followers, "load", load_later)
    await publish_texts(create(tmp_path), a="the pointer")
    changes: list[tuple[str, int]] = []
    async with following(tmp_path, changes=changes) as follower:
        with pytest.raises(CannotBeLoaded):
            await follower.version("docs")
        await until(lambda: changes == [("docs", 1)])
    assert looked[1] - looked[0] >= 0.05
    assert looked[2] - looked[1] >= 0.1


async def test_a_pointer_that_is_put_right_is_no_longer_refused(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    right = (collection.path / "published").read_text()
    async with following(tmp_path) as follower:
        (collection.path / "published").write_text("nonsense")
        with pytest.raises(CorruptPointer):
            await follower.version("docs", 2)
        (collection.path / "published").write_text(right)
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(follower.version("docs", 2))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "the old refusal says nothing any more"
        await publish_texts(collection, b="the log")
        assert (await waiting).index_version == 2


async def test_a_collection_that_was_made_anew_is_news_though_the_number_is_the_same(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    changes: list[tuple[str, int]] = []
    async with following(tmp_path, changes=changes) as follower:
        shutil.rmtree(collection.path)
        await publish_texts(create(tmp_path), a="the log")
        await until(lambda: changes == [("docs", 1)] * 2)
        assert (await follower.version("docs")).sparse.passages([0])[0].text == "the log"


async def test_a_collection_that_was_deleted_is_dropped(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    (tmp_path / LOCK).touch()
    changes: list[tuple[str, int]] = []
    async with following(tmp_path, changes=changes) as follower:
        await follower.version("docs")
        shutil.rmtree(collection.path)
        await until(lambda: ("docs", 0) in changes)
        with pytest.raises(NoSuchCollection):
            await follower.version("docs")
        await publish_texts(create(tmp_path), b="the log")
        version = await follower.version("docs", 1)
        assert [passage.document_id for passage in version.sparse.passages([0])] == ["b"]


async def test_collections_out_of_reach_stay_served(tmp_path: Path) -> None:
    """An unmounted directory is empty, and without a writer's lock."""
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    async with following(tmp_path) as follower:
        shutil.rmtree(collection.path)
        await asyncio.sleep(0.1)
        assert (await follower.version("docs")).index_version == 1


async def test_a_collection_that_was_created_again_does_not_show_its_former_self(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    (tmp_path / LOCK).touch()
    changes: list[tuple[str, int]] = []
    async with following(tmp_path, changes=changes) as follower:
        (collection.path / "published").unlink()
        await until(lambda: ("docs", 0) in changes)
        with pytest.raises(NothingPublished):
            await follower.version("docs")


async def test_a_log_is_followed_while_another_version_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    may_load = threading.Event()

    def slow(collection: Collection, pointer: Pointer, encoder: dict[str, str]) -> Version:
        if pointer.index_version == 2:
            assert may_load.wait(10)
        return load(collection, pointer, encoder)

    monkeypatch.setattr(followers, "load", slow)
    async with following(tmp_path) as follower:
        writer = open_writer(collection)
        await writer.append(record(writer, "b", "the log"))
        await writer.publish()
        await writer.append(record(writer, "c", "the lock"))
        await until(lambda: len(found(follower)) == 3)
        assert (await follower.version("docs")).index_version == 1
        may_load.set()
        assert (await follower.version("docs", 2)).index_version == 2
        assert found(follower) == {"a", "b", "c"}
        await writer.close()


async def test_one_fault_does_not_stop_what_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer")
    faults = iter([ValueError("tantivy's"), RuntimeError("unforeseen")])
    whole = LiveSegment._take

    def failing(self: LiveSegment, records: list[Record]) -> None:
        whole(self, records)
        if fault := next(faults, None):
            raise fault

    monkeypatch.setattr(LiveSegment, "_take", failing)
    async with following(tmp_path) as follower:
        writer = open_writer(collection)
        await writer.append(record(writer, "b", "the log"))
        await until(lambda: found(follower) == {"a", "b"})
        await writer.close()
    assert next(faults, None) is None


def found(follower: Follower) -> set[str]:
    """The documents of what is served now."""
    version = follower._version_by_name["docs"]
    rows = [one.row for one in version.dense.search(np.ones(DIMENSION, np.float32), 100)]
    return {passage.document_id for passage in version.sparse.passages(rows)}
