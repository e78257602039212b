"""Collections with an index of a kind of their own: publication, deletion, rollback, advice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.retriever import collection as collections
from services.retriever.collection import Collection
from services.retriever.index_kind import FLAT, IndexKind, InvalidIndexKind, Metric, TooFewPassages
from services.retriever.indexer import advice
from services.retriever.indexer.writer import CollectionWriter
from tests.unit.collections_on_disk import DIMENSION, RECIPE, create, open_writer, published, record, text_by_id

KIND = IndexKind.parse("IVF2,Flat", Metric.COSINE)


async def store(writer: CollectionWriter, num_documents: int, prefix: str = "d") -> None:
    for number in range(num_documents):
        await writer.append(record(writer, f"{prefix}{number:03}", "x" * (number + 1)))


async def test_a_version_has_the_kind_that_its_collection_was_created_with(tmp_path: Path) -> None:
    collection = create(tmp_path, kind=KIND)
    assert collection.settings().kind == KIND
    writer = open_writer(collection)
    await store(writer, 100)
    described = await writer.publish()
    assert (described.index_factory, described.metric, described.kind) == ("IVF2,Flat", "cosine", KIND)
    version = published(collection)
    assert version.described.kind == KIND
    found = version.dense.search(np.array([30, 1, 0, 0], np.float32), 3)
    assert found[0].row == 29
    assert found[0].score == pytest.approx(1)


@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "SQ8", "IVF2,SQ8", "HNSW8", "HNSW8,SQ8"])
async def test_every_kind_is_published_rolled_back_and_read(tmp_path: Path, factory: str) -> None:
    collection = create(tmp_path, kind=IndexKind.parse(factory))
    writer = open_writer(collection)
    await store(writer, 90)
    await writer.publish()
    await writer.delete(["d000"])
    assert (await writer.publish()).num_passages == 89
    assert (await writer.roll_back(1)).num_passages == 89
    assert len(published(collection).dense.search(np.ones(DIMENSION, np.float32), 100)) == 89


async def test_a_collection_that_was_created_before_there_was_a_choice_is_flat(tmp_path: Path) -> None:
    collection = create(tmp_path)
    path = collection.path / collections.SETTINGS
    fields = json.loads(path.read_bytes())
    del fields["index"]
    path.write_text(json.dumps(fields))
    assert collection.settings().kind == FLAT
    writer = open_writer(collection)
    await store(writer, 2)
    assert (await writer.publish()).index_factory == "Flat"


async def test_too_few_passages_are_not_published_and_stay_stored(tmp_path: Path) -> None:
    collection = create(tmp_path, kind=KIND)
    writer = open_writer(collection)
    await store(writer, 77)
    with pytest.raises(TooFewPassages) as refusal:
        await writer.publish()
    assert (refusal.value.needed, refusal.value.found) == (78, 77)
    assert (collection.pointer(), writer.num_documents, list(collection.versions_path.iterdir())) == (None, 77, [])
    await store(writer, 1, "more")
    assert (await writer.publish()).num_passages == 78


async def test_too_few_passages_of_another_encoder_leave_what_is_published(tmp_path: Path) -> None:
    collection = create(tmp_path, kind=KIND)
    writer = open_writer(collection)
    await store(writer, 100)
    await writer.publish()
    await writer.close()
    other = open_writer(collection, replace(RECIPE, encoder={**RECIPE.encoder, "weights": "other"}))
    await other.delete([f"d{number:03}" for number in range(100)])
    await store(other, 5, "new")
    with pytest.raises(TooFewPassages):
        await other.publish()
    assert other.published is not None
    assert other.published.index_version == 1
    assert published(collection).index_version == 1
    assert len(text_by_id(published(collection))) == 100


@pytest.mark.parametrize("num_left", [5, 0])
async def test_deletions_are_published_however_few_passages_they_leave(tmp_path: Path, num_left: int) -> None:
    collection = create(tmp_path, kind=KIND)
    writer = open_writer(collection)
    await store(writer, 100)
    await writer.publish()
    await writer.delete([f"d{number:03}" for number in range(num_left, 100)])
    described = await writer.publish()
    assert (described.index_version, described.num_passages, described.kind) == (2, num_left, KIND)
    version = published(collection)
    rows = [one.row for one in version.dense.search(np.array([3, 1, 0, 0], np.float32), 10)]
    assert len(rows) == len(text_by_id(version)) == num_left
    await store(writer, 3, "more")
    assert (await writer.publish()).num_passages == num_left + 3


async def test_a_kind_that_does_not_suit_the_encoder_is_not_published(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path, kind=IndexKind.parse("IVF2,PQ3")))
    await store(writer, 3)
    with pytest.raises(InvalidIndexKind, match="3 does not divide the dimension, 4"):
        await writer.publish()


async def test_a_manifest_of_an_unknown_kind_is_unreadable(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path))
    await store(writer, 1)
    described = await writer.publish()
    for unknown in (replace(described, index_factory="IDMap,Flat"), replace(described, metric="l2")):
        with pytest.raises(Exception, match="of another software"):
            _ = unknown.kind


async def advised(collection: Collection, num_documents: int) -> advice.Advice:
    writer = open_writer(collection)
    generator = np.random.default_rng(0)
    for number in range(num_documents):
        made = record(writer, f"d{number:04}", *["text"] * 10)
        centre = generator.normal(size=DIMENSION)
        vectors = (centre + 0.1 * generator.normal(size=(10, DIMENSION))).astype(np.float32)
        await writer.append(replace(made, vectors=vectors))
    return await writer.advise()


async def test_advice_measures_each_kind_on_what_is_stored(tmp_path: Path) -> None:
    advice_given = await advised(create(tmp_path), 200)
    assert (advice_given.num_passages, advice_given.num_sampled, advice_given.num_questions) == (2_000, 1_800, 200)
    assert advice_given.recommended == FLAT
    by_factory = {one.kind.factory: one for one in advice_given.candidates}
    assert by_factory["Flat"].recall == 1.0
    assert by_factory["HNSW32"].num_bytes > by_factory["Flat"].num_bytes > by_factory["SQ8"].num_bytes
    assert {"SQ8", "HNSW32", "HNSW32,SQ8"} <= by_factory.keys()
    assert all(one.recall is not None and one.recall > 0.5 for one in advice_given.candidates)
    assert not any(one.kind.num_needed > 2_000 for one in advice_given.candidates), "kinds that cannot be published"


async def test_advice_for_little_measures_nothing(tmp_path: Path) -> None:
    advice_given = await advised(create(tmp_path, kind=KIND), 3)
    assert advice_given.num_questions == 0
    assert {one.recall for one in advice_given.candidates} == {None}
    assert advice_given.recommended == replace(FLAT, metric=Metric.COSINE)
    [warning] = advice_given.warnings
    assert "at least 78 passages" in warning


async def test_advice_is_the_same_twice(tmp_path: Path) -> None:
    first = await advised(create(tmp_path, "a"), 60)
    second = await advised(create(tmp_path, "b"), 60)
    measured = [[(one.kind, one.recall) for one in given.candidates] for given in (first, second)]
    assert measured[0] == measured[1]


def test_a_collection_that_has_outgrown_its_kind_is_told_so() -> None:
    sample = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    flat = advice.advise(sample, 1_000_000, 8, FLAT)
    assert "compares all 1,000,000 passages" in flat.warnings[0]
    assert not flat.recommended.num_lists or flat.recommended.num_lists >= 2_048
    few_lists = advice.advise(sample, 1_000_000, 8, IndexKind.parse("IVF16,Flat"))
    assert "62,500 passages in each" in few_lists.warnings[0]
    assert not advice.advise(sample, 1_000_000, 8, IndexKind.parse("IVF4096,Flat")).warnings


def test_beyond_flat_the_least_memory_with_enough_recall_is_recommended() -> None:
    centres = np.random.default_rng(0).normal(size=(400, 8))
    noise = np.random.default_rng(1).normal(scale=0.05, size=(4_000, 8))
    sample = (np.repeat(centres, 10, axis=0) + noise).astype(np.float32)
    given = advice.advise(sample, 200_000, 8, FLAT)
    chosen = next(one for one in given.candidates if one.kind == given.recommended)
    good = [one for one in given.candidates if not one.kind.is_exact and (one.recall or 0) >= advice.TARGET_RECALL]
    assert chosen in good
    assert chosen.num_bytes == min(one.num_bytes for one in good)


async def test_a_sample_reads_no_more_documents_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "SAMPLE", 50)
    writer = open_writer(create(tmp_path))
    await store(writer, 200)
    drawn = advice.draw_documents(writer.all_stored())
    assert len(drawn) == 50
    assert sorted(one.offset for one in drawn) != [writer.all_stored()[f"d{n:03}"].location.offset for n in range(50)]
    assert (await writer.advise()).num_passages == 200
