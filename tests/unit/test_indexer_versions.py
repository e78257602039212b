"""Versions that are kept: rolled back to, deleted, retired. And a property test of the whole life of a collection."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.retriever import manifest
from services.retriever.collection import Collection
from services.retriever.indexer import log as logs
from services.retriever.indexer import versions
from services.retriever.indexer.versions import NoSuchVersion, Retention, VersionIsPublished
from services.retriever.indexer.writer import CollectionWriter, MadeByAnother
from services.retriever.manifest import CorruptVersion
from services.retriever.version import Version, load
from tests.unit.collections_on_disk import (
    ENCODER,
    RECIPE,
    RETENTION,
    create,
    open_writer,
    published,
    record,
    text_by_id,
)


async def put(writer: CollectionWriter, **text_by_document_id: str) -> None:
    for document_id, text in text_by_document_id.items():
        await writer.append(record(writer, document_id, text))


async def kept(writer: CollectionWriter) -> list[int]:
    return [one.index_version for one in await writer.versions()]


async def test_a_deleted_document_is_in_neither_leg_of_the_next_version(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="the pointer", b="the log of it")
    await writer.publish()
    assert await writer.delete(["b", "b", "never there"]) == ["b"]
    assert (writer.num_documents, writer.num_passages, writer.num_unpublished) == (1, 1, 1)
    size = (collection.log_path / "000001.log").stat().st_size
    assert await writer.delete(["b"]) == []
    assert (collection.log_path / "000001.log").stat().st_size == size, "nothing is left to delete"
    described = await writer.publish()
    assert (described.index_version, described.num_documents) == (2, 1)
    version = published(collection)
    assert text_by_id(version) == {"a": "the pointer"}
    assert version.sparse.search("log", 5) == []
    assert [one.row for one in version.dense.search(record(writer, "b", "the log of it").vectors[0], 5)] == [0]
    assert open_writer(collection).num_documents == 1


async def test_a_collection_may_become_empty(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="the pointer")
    await writer.publish()
    await writer.delete(["a"])
    assert (await writer.publish()).num_passages == 0
    version = published(collection)
    assert version.sparse.search("pointer", 5) == []
    assert version.dense.search(record(writer, "a", "x").vectors[0], 5) == []


async def test_a_rollback_brings_back_an_old_version_but_not_what_was_deleted(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="a first", b="b first", c="c first")
    await writer.publish()
    await put(writer, a="a second", d="d second")
    await writer.delete(["c"])
    await writer.publish()
    described = await writer.roll_back(1)
    assert described.index_version == 3
    assert text_by_id(published(collection)) == {"a": "a first", "b": "b first"}
    assert writer.num_unpublished == 0
    for later in (writer, open_writer(collection)):
        assert (later.num_documents, later.is_current("a", repr(("a first",)))) == (2, True)
        assert (await later.publish()).index_version == 3, "what was rolled back is what is stored"
    await put(writer, e="e third")
    await writer.publish()
    assert text_by_id(published(collection)) == {"a": "a first", "b": "b first", "e": "e third"}
    await writer.roll_back(2)
    assert text_by_id(published(collection)) == {"a": "a second", "b": "b first", "d": "d second"}


async def test_a_rollback_without_deletions_copies_no_file(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first")
    await writer.publish()
    await put(writer, a="second")
    await writer.publish()
    await writer.roll_back(1)
    old, new = (collection.version_path(number) / "dense.faiss" for number in (1, 3))
    assert old.stat().st_ino == new.stat().st_ino
    await writer.delete_versions([1])
    assert text_by_id(published(collection)) == {"a": "first"}


async def test_a_disk_without_links_gets_the_version_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Any] = []

    def refuse(*paths: Any) -> None:
        refused.append(paths)
        raise PermissionError("no links here")

    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first")
    await writer.publish()
    await put(writer, a="second")
    monkeypatch.setattr(os, "link", refuse)
    await writer.roll_back(1)
    assert refused
    assert text_by_id(published(collection)) == {"a": "first"}


@pytest.mark.parametrize("name", ["manifest.json", "dense.faiss"])
async def test_a_damaged_version_is_not_rolled_back_to(tmp_path: Path, name: str) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first")
    await writer.publish()
    await put(writer, a="second")
    await writer.publish()
    path = collection.version_path(1) / name
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CorruptVersion, match=name):
            await writer.roll_back(1)
    assert text_by_id(published(collection)) == {"a": "second"}
    assert open_writer(collection).is_current("a", repr(("second",))), "nothing has changed"


async def test_a_version_of_another_encoder_is_not_rolled_back_to(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await put(writer := open_writer(collection), a="first")
    await writer.publish()
    other = open_writer(collection, replace(RECIPE, encoder={**ENCODER, "weights": "def"}))
    await put(other, a="second")
    await other.publish()
    with pytest.raises(MadeByAnother):
        await other.roll_back(1)
    assert (await other.publish()).index_version == 2


async def test_versions_are_deleted_by_number_but_for_the_published_one(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    for text in ("first", "second", "third"):
        await put(writer, a=text)
        await writer.publish()
    reader = load(collection, collection.pointer(), ENCODER)  # type: ignore[arg-type]
    await writer.delete_versions([2])
    assert await kept(writer) == [1, 3]
    with pytest.raises(VersionIsPublished):
        await writer.delete_versions([3])
    for gone in (2, 99):
        with pytest.raises(NoSuchVersion):
            await writer.delete_versions([gone])
        with pytest.raises(NoSuchVersion):
            await writer.roll_back(gone)
    assert text_by_id(reader) == {"a": "third"}
    assert not list(collection.versions_path.glob(".*"))


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (Retention(1, timedelta(0)), [5]),
        (Retention(3, timedelta(0)), [3, 4, 5]),
        (Retention(1, timedelta(hours=1)), [1, 2, 3, 4, 5]),
    ],
)
async def test_old_versions_go_by_count_and_age(tmp_path: Path, retention: Retention, expected: list[int]) -> None:
    writer = open_writer(create(tmp_path), retention=retention)
    for number in range(5):
        await put(writer, a=f"text {number}")
        await writer.publish()
    assert await kept(writer) == expected


async def test_a_version_that_is_open_is_searched_to_its_end_when_it_is_retired(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection, retention=Retention(1, timedelta(0)))
    await put(writer, a="the first text")
    await writer.publish()
    reader = published(collection)
    await put(writer, a="another")
    await writer.publish()
    assert not collection.version_path(1).exists()
    assert [one.row for one in reader.sparse.search("first", 3)] == [0]
    assert text_by_id(reader) == {"a": "the first text"}


@pytest.mark.parametrize("deleted_when", ["rolled back", "never again stored"])
async def test_a_document_that_is_not_stored_when_it_is_deleted_does_not_come_back_either(
    tmp_path: Path, deleted_when: str
) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first")
    await writer.publish()
    await put(writer, secret="nobody's business")
    await writer.publish()
    if deleted_when == "never again stored":
        await writer.delete(["secret"])
        await put(writer, secret="nobody's business")
        await writer.publish()
    await writer.roll_back(1)
    assert await writer.delete(["secret"]) == []
    held_by = await writer.versions_holding(["secret"])
    assert held_by == ([2, 3] if deleted_when == "never again stored" else [2])
    for number in held_by:
        await writer.roll_back(number)
        assert text_by_id(published(collection)) == {"a": "first"}


async def test_what_was_deleted_is_overwritten_in_the_log(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first", secret="nobody's business")
    await put(writer, secret="nobody's business, again")
    await writer.publish()
    await writer.delete(["secret"])
    log = collection.log_path / "000001.log"
    size = log.stat().st_size
    assert b"business" in log.read_bytes()
    await writer.publish()
    assert b"business" not in log.read_bytes()
    assert record(writer, "secret", "nobody's business").vectors.tobytes() not in log.read_bytes()
    assert log.stat().st_size == size
    for later in (writer, open_writer(collection)):
        assert await later.versions_holding(["secret"]) == [1]
        await put(later, secret="told anew")
        await later.publish()
        assert text_by_id(published(collection)) == {"a": "first", "secret": "told anew"}
        await later.roll_back(2)
        assert text_by_id(published(collection)) == {"a": "first"}


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_a_purge_leaves_no_byte_of_a_document_in_any_file(tmp_path: Path, is_damaged: bool) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, secret="businessofnobody")
    await writer.publish()
    await put(writer, a="first")
    await writer.publish()
    await writer.delete(["secret"])
    await writer.publish()
    if is_damaged:
        (collection.version_path(1) / "manifest.json").write_bytes(b"{}")
    assert await writer.versions_holding(["secret"]) == [1, 2]
    await asyncio.gather(writer.purge(["secret"]), writer.purge(["a", "secret"]))
    assert await kept(writer) == [3]
    assert await writer.versions_holding(["secret"]) == []
    for path in (path for path in collection.path.rglob("*") if path.is_file()):
        assert b"businessofnobody" not in path.read_bytes(), path


async def test_verification_finds_where_deleted_documents_are(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first", secret="nobody's business", again="old")
    await writer.publish()
    await writer.delete(["secret", "again"])
    await put(writer, again="new")
    before = await writer.verify()
    assert (before.num_deleted, before.log.num_records, before.log.held) == (1, 5, frozenset({"secret"}))
    await writer.publish()
    after = await writer.verify()
    assert (after.log.fault, after.log.held) == ("", frozenset())
    assert [(one.index_version, one.fault, one.held) for one in after.versions] == [
        (1, "", frozenset({"secret"})),
        (2, "", frozenset()),
    ]


async def test_verification_names_what_is_damaged(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    for text in ("first", "second", "third"):
        await put(writer, a=text)
        await writer.publish()
    log = collection.log_path / "000001.log"
    for path in (log, collection.version_path(1) / "manifest.json", collection.version_path(2) / "dense.faiss"):
        whole = path.read_bytes()
        path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    found = await writer.verify()
    assert found.log.fault.endswith("000001.log: the record at 0 is damaged")
    assert [one.fault.partition(":")[0] for one in found.versions] == ["manifest.json", "dense.faiss", ""]
    (collection.path / "published").write_bytes(b"junk")
    assert all("not a pointer" in one.fault for one in (await writer.verify()).versions)


async def test_a_published_version_that_is_another_than_the_pointer_names_is_damaged(tmp_path: Path) -> None:
    """Whole in itself, and not what was published."""
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="first")
    await writer.publish()
    path = collection.version_path(1) / "manifest.json"
    path.write_bytes(replace(manifest.read(path.parent), log_end=7).to_json())
    assert [one.fault for one in (await writer.verify()).versions] == ["manifest.json: not the one that was published"]


async def test_callers_share_a_verification_and_closing_waits_for_it(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path))
    await put(writer, a="first")
    await writer.publish()
    first, second = (asyncio.create_task(writer.verify()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).log.num_records == 1
    abandoned = asyncio.create_task(writer.verify())
    await asyncio.sleep(0)
    abandoned.cancel()
    await writer.close()


@pytest.mark.parametrize("fails_at", range(3))
async def test_erasing_that_breaks_off_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Each time in the middle of another document's bytes."""
    collection = create(tmp_path)
    writer = open_writer(collection)
    for name in ("a", "b", "c", "d"):
        await put(writer, **{name: f"{name} business"})
    await writer.publish()
    await writer.delete(["b", "c", "d"])
    whole, written = logs._write, list[int]()

    def write(descriptor: int, data: bytes, offset: int) -> None:
        written.append(offset)
        if len(written) == fails_at + 1:
            whole(descriptor, data[: len(data) // 2], offset)
            raise OSError(errno.EIO, "broken off")
        whole(descriptor, data, offset)

    with monkeypatch.context() as broken:
        broken.setattr(logs, "_write", write)
        with pytest.raises(OSError, match="broken off"):
            await writer.publish()
    log = collection.log_path / "000001.log"
    again = open_writer(collection)
    assert text_by_id(published(collection)) == {"a": "a business"}
    assert [name for name in "abcd" if f"{name} business".encode() in log.read_bytes()] == ["a"]
    await put(again, e="fifth")
    await again.publish()
    assert text_by_id(published(collection)) == {"a": "a business", "e": "fifth"}
    assert not (collection.log_path / "erasing.json").exists()


async def test_erasing_that_broke_off_is_finished_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="a first", b="b business")
    await writer.delete(["b"])

    def write(descriptor: int, data: bytes, offset: int) -> None:
        os.pwrite(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.EIO, "broken off")

    with monkeypatch.context() as broken:
        broken.setattr(logs, "_write", write)
        with pytest.raises(OSError, match="broken off"):
            await writer.publish()
    assert (await writer.publish()).index_version == 1
    assert b"business" not in (collection.log_path / "000001.log").read_bytes()


async def test_a_version_of_another_encoder_is_never_linked(tmp_path: Path) -> None:
    """Also where no document is left by which one could tell."""
    collection = create(tmp_path)
    await put(writer := open_writer(collection), a="first")
    await writer.publish()
    await writer.delete(["a"])
    await writer.publish()
    encoder = {**ENCODER, "weights": "def"}
    other = open_writer(collection, replace(RECIPE, encoder=encoder))
    await put(other, b="second")
    await other.publish()
    await other.roll_back(2)
    pointer = collection.pointer()
    assert pointer is not None
    assert load(collection, pointer, encoder).sparse.num_passages == 0


async def test_a_version_of_another_log_is_refused(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await put(writer := open_writer(collection), a="first", b="second")
    await writer.publish()
    (collection.log_path / "000001.log").unlink()
    restored = open_writer(collection)
    await put(restored, c="third")
    with pytest.raises(CorruptVersion, match="of another log"):
        await restored.roll_back(1)


async def test_a_collection_that_became_empty_is_published_though_its_version_is_damaged(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await put(writer := open_writer(collection), a="first")
    await writer.publish()
    (collection.version_path(1) / "manifest.json").write_bytes(b"[]")
    await writer.delete(["a"])
    assert (await writer.publish()).num_documents == 0
    assert text_by_id(published(collection)) == {}


async def test_a_version_that_cannot_be_read_for_now_is_not_taken_for_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = create(tmp_path)
    retention = Retention(1, timedelta(hours=1))
    writer = open_writer(collection, retention=retention)
    for text in ("first", "second"):
        await put(writer, a=text)
        await writer.publish()

    def fail(*_: Any) -> None:
        raise CorruptVersion("manifest.json: cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr(manifest, "read", fail)
        versions.retire(collection, retention)
    assert await kept(writer) == [1, 2]


async def test_a_caller_that_leaves_stops_no_deletion(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path))
    await put(writer, a="first")
    deleting = asyncio.create_task(writer.delete(["a"]))
    await asyncio.sleep(0)
    deleting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deleting
    async with writer.turns.of("a"):
        assert writer.stored("a") is None, "whoever comes next finds it deleted"


IDS = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("put"), IDS, st.sampled_from(["one", "two words", "three more words"])),
    st.tuples(st.just("delete"), IDS),
    st.tuples(st.just("publish")),
    st.tuples(st.just("roll back"), st.integers(0, 9)),
    st.tuples(st.just("restart")),
)


class Life:
    """A collection beside a plain dict of what it must hold."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.writer = open_writer(collection, retention=RETENTION)
        self.texts: dict[str, str] = {}
        self.versions: dict[int, dict[str, str]] = {}
        self.deleted_since: dict[int, set[str]] = {}

    async def step(self, kind: str, *arguments: Any) -> None:
        steps: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
            "put": self.put,
            "delete": self.delete,
            "publish": self.publish,
            "roll back": self.roll_back,
            "restart": self.restart,
        }
        await steps[kind](*arguments)
        assert self.writer.num_documents == len(self.texts)

    async def put(self, document_id: str, text: str) -> None:
        await self.writer.append(record(self.writer, document_id, text))
        self.texts[document_id] = text

    async def delete(self, document_id: str) -> None:
        assert await self.writer.delete([document_id]) == ([document_id] if document_id in self.texts else [])
        self.texts.pop(document_id, None)
        for deleted in self.deleted_since.values():
            deleted.add(document_id)

    async def publish(self) -> None:
        if self.writer.has_records:
            self.check((await self.writer.publish()).index_version)

    async def roll_back(self, which: int) -> None:
        if self.versions:
            target = sorted(self.versions)[which % len(self.versions)]
            gone = self.deleted_since[target]
            self.texts = {name: text for name, text in self.versions[target].items() if name not in gone}
            self.check((await self.writer.roll_back(target)).index_version)

    async def restart(self) -> None:
        await self.writer.close()
        self.writer = open_writer(self.collection, retention=RETENTION)

    def check(self, index_version: int) -> None:
        """Both legs of what is published hold the texts, and nothing else."""
        self.versions.setdefault(index_version, dict(self.texts))
        self.deleted_since.setdefault(index_version, set())
        version = published(self.collection)
        assert version.index_version == index_version
        assert text_by_id(version) == self.texts
        for document_id, text in self.texts.items():
            vector = record(self.writer, document_id, text).vectors[0]
            lengths = {len(self.texts[name]) for name in self.texts}
            found = {passage.text for passage in version.sparse.passages(_rows(version, text))}
            assert text in found
            nearest = version.sparse.passages([version.dense.search(vector, 1)[0].row])
            assert len(nearest[0].text) == max(lengths), "by inner product the longest text is first"


def _rows(version: Version, text: str) -> list[int]:
    return [one.row for one in version.sparse.search(text, 10)]


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=20))
def test_a_collection_holds_what_a_dict_would(steps: list[tuple[Any, ...]]) -> None:
    async def live(folder: Path) -> None:
        life = Life(create(folder))
        for step in steps:
            await life.step(*step)
        await life.publish()
        await life.writer.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))
