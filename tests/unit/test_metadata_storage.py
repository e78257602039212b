"""Metadata in the log, the collection's settings and its versions, beside what was written before there was any."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from services.retriever.analyzer import Analyzer
from services.retriever.collection import SETTINGS, Collection, Settings, UnknownFormat
from services.retriever.filter import Equals, select
from services.retriever.indexer import writer as writers
from services.retriever.indexer.log import Log
from services.retriever.indexer.writer import CollectionWriter
from services.retriever.live import LiveSegment
from services.retriever.metadata import FieldType, Metadata
from services.retriever.record import FILE_NAME, Upsert
from tests.unit.collections_on_disk import DIMENSION, create, open_writer, published, record

FIELDS = {"team": FieldType.STRING, "at": FieldType.TIME}
OPS = Equals("team", "ops")


def create_with_fields(collections_path: Path) -> Collection:
    collection = Collection.named(collections_path, "docs")
    collection.create(Settings(Analyzer.of(), datetime.now(UTC), FIELDS))
    return collection


def with_metadata(record: Upsert, metadata: Metadata) -> Upsert:
    return replace(record, passages=tuple(replace(passage, metadata=metadata) for passage in record.passages))


async def put(writer: CollectionWriter, **team_by_document_id: str) -> None:
    for document_id, team in team_by_document_id.items():
        await writer.append(with_metadata(record(writer, document_id, "the pointer", "the log"), {"team": team}))


def test_a_collection_made_before_there_were_fields_has_none(tmp_path: Path) -> None:
    collection = create_with_fields(tmp_path)
    assert collection.settings().fields == FIELDS
    written = json.loads((collection.path / SETTINGS).read_bytes())
    del written["fields"]
    (collection.path / SETTINGS).write_text(json.dumps(written))
    assert collection.settings().fields == {}


def test_a_field_of_a_type_that_this_software_does_not_know_is_refused(tmp_path: Path) -> None:
    collection = create_with_fields(tmp_path)
    written = (collection.path / SETTINGS).read_text()
    (collection.path / SETTINGS).write_text(written.replace('"time"', '"place"'))
    with pytest.raises(UnknownFormat, match="place"):
        collection.settings()


def test_metadata_is_in_the_log_once_and_comes_back(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path))
    metadata: Metadata = {
        "team": "中文" * 500,
        "at": datetime(1, 1, 1, tzinfo=UTC),
        "tags": ("b", "a"),
        "year": 7,
        "price": 7.0,
    }
    sent = with_metadata(record(writer, "a", *["text"] * 50), metadata)
    log = Log(tmp_path, lambda *_: None)
    [location] = log.append([sent])
    assert location.length < 8_000
    found = log.read(location)
    assert found.passages == sent.passages
    assert {name: type(value) for name, value in found.metadata.items()} == {
        name: type(value) for name, value in metadata.items()
    }


@pytest.mark.parametrize(
    ("metadata", "kind"), [({}, b'"upsert/1"'), ({"year": 1}, b'"upsert/2"')], ids=["none", "some"]
)
def test_older_software_refuses_a_record_of_which_it_would_lose_the_metadata(
    tmp_path: Path, metadata: Metadata, kind: bytes
) -> None:
    writer = open_writer(create(tmp_path))
    Log(tmp_path, lambda *_: None).append([with_metadata(record(writer, "a", "text"), metadata)])
    written = (tmp_path / FILE_NAME).read_bytes()
    assert kind in written
    assert (b"metadata" in written) == bool(metadata)


async def test_a_version_has_columns_where_the_collection_has_fields(tmp_path: Path) -> None:
    collection = create_with_fields(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="ops", b="Ops", c="ops")
    described = await writer.publish()
    assert any(path.startswith("columns/") for path in described.file_by_path)
    version = published(collection)
    assert version.columns.fields == FIELDS
    assert select(OPS, version.columns).tolist() == [True, True, False, False, True, True]
    passages = version.sparse.passages([2])
    assert passages[0].metadata == {"team": "Ops"}


async def test_without_fields_a_version_is_as_it_was_before_there_were_any(tmp_path: Path) -> None:
    collection = create(tmp_path)
    writer = open_writer(collection)
    await writer.append(record(writer, "a", "the pointer"))
    described = await writer.publish()
    assert not any("columns" in path for path in described.file_by_path)
    assert published(collection).columns.fields == {}


async def test_a_collection_with_fields_may_become_empty(tmp_path: Path) -> None:
    collection = create_with_fields(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="ops")
    await writer.delete(["a"])
    await writer.publish()
    assert select(OPS, published(collection).columns).tolist() == []


async def test_a_rollback_brings_the_metadata_back(tmp_path: Path) -> None:
    collection = create_with_fields(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="ops")
    await writer.publish()
    await put(writer, a="Ops", b="ops")
    await writer.publish()
    assert select(OPS, published(collection).columns).tolist() == [False, False, True, True]
    await writer.roll_back(1)
    assert select(OPS, published(collection).columns).tolist() == [True, True]


async def test_what_a_filter_chooses_is_deleted_and_that_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "BLOCK", 2)
    collection = create_with_fields(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="ops", b="Ops", c="ops", d="ops", e="ops")
    await put(writer, a="Ops", b="ops")  # as they are now counts
    await writer.append(record(writer, "f", "no team"))
    await writer.publish()
    assert await writer.delete_chosen(OPS) == ["b", "c", "d", "e"]
    assert await writer.versions_holding(["x", "y", "b"]) == [1]
    assert await writer.versions_holding(["x", "y", "z"]) == []
    for later in (writer, open_writer(collection)):
        assert sorted(later.all_stored()) == ["a", "f"]
        assert await later.delete_chosen(OPS) == []


async def test_a_document_that_is_replaced_while_a_deletion_reads_the_log_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = create_with_fields(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="ops", b="ops")
    async with writer.turns.of("b"):  # whoever replaces it has its turn first
        deleting = asyncio.create_task(writer.delete_chosen(OPS))
        await asyncio.sleep(0.1)  # it has read the log
        assert not deleting.done()
        await put(writer, b="Ops")
    assert await deleting == ["a"]
    assert sorted(writer.all_stored()) == ["b"]


async def test_a_filter_chooses_among_what_was_stored_since_too(tmp_path: Path) -> None:
    collection = create_with_fields(tmp_path)
    writer = open_writer(collection)
    await put(writer, a="ops", b="ops", c="sales")
    await writer.publish()
    segment = LiveSegment(published(collection), collection.log_path / FILE_NAME)
    await put(writer, b="sales", d="ops")
    version = segment.follow()
    assert version is not None
    kept = select(OPS, version.columns)
    for leg in (
        version.sparse.search("pointer", 100, kept),
        version.dense.search(np.ones(DIMENSION, np.float32), 100, kept),
    ):
        found = {passage.document_id for passage in version.sparse.passages([one.row for one in leg])}
        assert found == {"a", "d"}
    everything = version.sparse.search("pointer", 100)
    score_by_row = {one.row: one.score for one in everything}
    assert all(one.score == score_by_row[one.row] for one in version.sparse.search("pointer", 100, kept))
    await writer.close()
