"""What is stored is searched before it is published."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.retriever import live as lives
from services.retriever import tail as tails
from services.retriever.collection import Collection
from services.retriever.indexer.writer import CollectionWriter
from services.retriever.live import LiveSegment
from services.retriever.record import FILE_NAME, Delete, Frame, read_frame
from services.retriever.version import Version
from tests.unit.collections_on_disk import DIMENSION, create, open_writer, published, record

ALL = 1_000
QUESTION = np.ones(DIMENSION, dtype=np.float32)
WORDS = ["pointer", "log", "lock", "version", "manifest"]


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[CollectionWriter]:
    opened = open_writer(create(tmp_path))
    for document_id, text in {"a": "the pointer", "b": "the log of it", "c": "a lock"}.items():
        await opened.append(record(opened, document_id, text))
    await opened.publish()
    yield opened
    await opened.close()


def following(collection: Collection) -> LiveSegment:
    return LiveSegment(published(collection), collection.log_path / FILE_NAME)


def read(segment: LiveSegment) -> Version:
    version = segment.follow()
    assert version is not None
    return version


def found_texts(version: Version, word: str) -> dict[str, set[str]]:
    """By leg."""
    dense = [one.row for one in version.dense.search(QUESTION, ALL)]
    bm25 = [one.row for one in version.sparse.search(word, ALL)]
    return {
        leg: {passage.text for passage in version.sparse.passages(rows)}
        for leg, rows in {"dense": dense, "bm25": bm25}.items()
    }


async def test_what_is_stored_is_found_in_both_legs(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    assert segment.follow() is None
    await writer.append(record(writer, "d", "a manifest", "the pointer again"))
    version = read(segment)
    assert version.index_version == 1
    assert found_texts(version, "pointer") == {
        "dense": {"the pointer", "the log of it", "a lock", "a manifest", "the pointer again"},
        "bm25": {"the pointer", "the pointer again"},
    }
    assert segment.num_passages == 2
    assert segment.follow() is None


async def test_what_replaces_hides_what_was_there(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(record(writer, "a", "a new pointer"))
    assert found_texts(read(segment), "pointer")["bm25"] == {"a new pointer"}
    await writer.append(record(writer, "a", "the newest pointer"))
    assert found_texts(read(segment), "pointer") == {
        "dense": {"the newest pointer", "the log of it", "a lock"},
        "bm25": {"the newest pointer"},
    }
    assert segment.num_passages == 1


async def test_what_is_deleted_is_found_no_more(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(record(writer, "d", "another pointer"))
    read(segment)
    await writer.append(Delete(("a", "d", "never there")))
    assert found_texts(read(segment), "pointer") == {"dense": {"the log of it", "a lock"}, "bm25": set()}


async def test_a_request_goes_on_with_what_it_began_with(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(record(writer, "d", "another pointer"))
    before = read(segment)
    await writer.append(Delete(("d",)))
    for number in range(50):
        await writer.append(record(writer, f"e{number}", f"pointer {number}"))
    read(segment)
    assert found_texts(before, "pointer")["bm25"] == {"the pointer", "another pointer"}
    assert len(found_texts(before, "pointer")["dense"]) == 4


async def test_the_next_version_begins_where_its_log_ended(writer: CollectionWriter) -> None:
    await writer.append(record(writer, "d", "another pointer"))
    await writer.publish()
    await writer.append(record(writer, "e", "a third pointer"))
    segment = following(writer.collection)
    assert found_texts(read(segment), "pointer")["bm25"] == {"the pointer", "another pointer", "a third pointer"}
    assert segment.num_passages == 1


async def test_a_term_weighs_in_both_parts_alike(writer: CollectionWriter) -> None:
    """In an index of its own the only new passage with a common word would score next to nothing."""
    for number in range(30):
        await writer.append(record(writer, f"m{number}", f"number {number}"))
    await writer.publish()
    segment = following(writer.collection)
    await writer.append(record(writer, "new", "the pointer"))
    scores = {one.row: one.score for one in read(segment).sparse.search("pointer", ALL)}
    assert len(scores) == 2
    old, new = sorted(scores)
    assert scores[new] == pytest.approx(scores[old], rel=0.25)


async def test_a_limit_holds_for_both_parts_together(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    for number in range(20):
        await writer.append(record(writer, f"d{number}", f"pointer {number}"))
    version = read(segment)
    for leg in (version.dense.search(QUESTION, 7), version.sparse.search("pointer", 7)):
        assert [one.rank for one in leg] == [1, 2, 3, 4, 5, 6, 7]
        assert [one.score for one in leg] == sorted((one.score for one in leg), reverse=True)


async def test_only_kept_rows_are_found_in_both_parts(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(record(writer, "a", "a new pointer"))
    await writer.append(record(writer, "d", "a manifest"))
    version = read(segment)
    kept = np.array([True, True, False, False, True])  # the old a, b and d
    assert sorted(one.row for one in version.dense.search(QUESTION, ALL, kept)) == [1, 4]


async def test_a_passage_is_known_by_its_id(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(record(writer, "a", "a new pointer"))
    await writer.append(Delete(("b",)))
    version = read(segment)
    row = version.sparse.row_of("a#0")
    assert row is not None
    assert [passage.text for passage in version.sparse.passages([row])] == ["a new pointer"]
    assert version.sparse.row_of("b#0") is None
    assert version.sparse.row_of("c#0") is not None


async def test_a_rollback_is_seen_with_its_version(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(record(writer, "d", "another pointer"))
    before = read(segment)
    await writer.roll_back(1)
    await writer.append(record(writer, "e", "a third pointer"))
    assert found_texts(segment.follow() or before, "pointer")["bm25"] == {"the pointer", "another pointer"}
    after = read(following(writer.collection))
    assert found_texts(after, "pointer")["bm25"] == {"the pointer", "a third pointer"}


async def test_documents_of_another_encoder_wait_for_their_version(tmp_path: Path, writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    other = replace(record(writer, "d", "another pointer"), made_by="another encoder")
    await writer.append(other)
    await writer.append(record(writer, "e", "a third pointer"))
    assert found_texts(segment.follow() or published(writer.collection), "pointer")["bm25"] == {"the pointer"}


async def test_more_than_fits_waits_for_its_version(monkeypatch: pytest.MonkeyPatch, writer: CollectionWriter) -> None:
    monkeypatch.setattr(lives, "MAX_PASSAGES", 3)
    segment = following(writer.collection)
    await writer.append(record(writer, "d", "pointer one", "pointer two"))
    await writer.append(record(writer, "e", "pointer three", "pointer four"))
    assert found_texts(read(segment), "pointer")["bm25"] == {"the pointer", "pointer one", "pointer two"}
    await writer.append(record(writer, "f", "pointer five"))
    assert found_texts(read(segment), "pointer")["bm25"] == {"the pointer", "pointer one", "pointer two"}


async def test_what_was_not_acknowledged_and_is_cut_off_is_forgotten(writer: CollectionWriter) -> None:
    log = writer.collection.log_path / FILE_NAME
    acknowledged = log.stat().st_size
    segment = following(writer.collection)
    await writer.append(record(writer, "d", "another pointer"))
    read(segment)
    with log.open("r+b") as file:  # as a writer does whose disk failed it
        file.truncate(acknowledged)
    writer._log.end = acknowledged
    await writer.append(record(writer, "e", "a third pointer"))
    assert segment.follow() is None, "it begins anew with the next look"
    assert found_texts(read(segment), "pointer")["bm25"] == {"the pointer", "a third pointer"}


async def test_what_cannot_be_read_for_a_moment_is_read_later(
    monkeypatch: pytest.MonkeyPatch, writer: CollectionWriter
) -> None:
    monkeypatch.setattr(tails, "BATCH_BYTES", 1)
    segment = following(writer.collection)
    await writer.append(record(writer, "d", "another pointer"))
    await writer.append(Delete(("a",)))
    whole, calls = read_frame, list[int]()

    def fail_at_the_second(descriptor: int, offset: int) -> Frame | None:
        calls.append(offset)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return whole(descriptor, offset)

    monkeypatch.setattr(tails, "read_frame", fail_at_the_second)
    with pytest.raises(OSError, match="Input/output"):
        segment.follow()
    assert found_texts(read(segment), "pointer")["bm25"] == {"another pointer"}


async def test_deletions_are_followed_when_nothing_else_can_be_shown(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    await writer.append(replace(record(writer, "d", "another pointer"), made_by="another encoder"))
    await writer.append(Delete(("a",)))
    await writer.append(record(writer, "b", "the pointer of b"))
    assert found_texts(read(segment), "pointer") == {"dense": {"the log of it", "a lock"}, "bm25": set()}


async def test_most_of_a_version_may_be_deleted(writer: CollectionWriter) -> None:
    for number in range(300):
        await writer.append(record(writer, f"p{number:03}", f"pointer {number}"))
    await writer.publish()
    segment = following(writer.collection)
    await writer.delete([f"p{number:03}" for number in range(299)])
    version = read(segment)
    for leg in (version.sparse.search("pointer", 5), version.dense.search(QUESTION, 5)):
        passages = version.sparse.passages([one.row for one in leg])
        assert {passage.document_id for passage in passages} <= {"a", "b", "c", "p299"}
    assert len(version.dense.search(QUESTION, 5)) == 4


async def test_half_a_record_is_waited_for(tmp_path: Path, writer: CollectionWriter) -> None:
    log = writer.collection.log_path / FILE_NAME
    begun = log.stat().st_size
    await writer.append(record(writer, "d", "another pointer"))
    whole = log.read_bytes()
    copy = tmp_path / "copy.log"
    segment = LiveSegment(published(writer.collection), copy)
    for length in range(begun, len(whole), 7):
        copy.write_bytes(whole[:length])
        assert segment.follow() is None
    copy.write_bytes(whole)
    assert found_texts(read(segment), "pointer")["bm25"] == {"the pointer", "another pointer"}


async def test_a_version_without_a_log_is_served_as_it_is(writer: CollectionWriter) -> None:
    segment = following(writer.collection)
    shutil.rmtree(writer.collection.log_path)
    assert segment.follow() is None


IDS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("upsert"), st.sampled_from("abcdef"), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)
        ),
        st.tuples(st.just("delete"), st.sampled_from("abcdef"), st.just([])),
        st.tuples(st.just("publish"), st.just(""), st.just([])),
        st.tuples(st.just("look"), st.just(""), st.just([])),
    ),
    max_size=25,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_both_legs_find_what_a_plain_dictionary_holds_and_order_it_as_one_index_does(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[str, str, list[str]]]
) -> None:
    async def run() -> None:
        writer = open_writer(create(tmp_path_factory.mktemp("collections")))
        await writer.append(record(writer, "z", "never changed"))
        await writer.publish()
        texts, segment = {"z": ["never changed"]}, following(writer.collection)
        version = published(writer.collection)
        for verb, document_id, words in [*steps, ("look", "", [])]:
            if verb == "upsert":
                texts[document_id] = [f"{word} {document_id}{number}" for number, word in enumerate(words)]
                await writer.append(record(writer, document_id, *texts[document_id]))
            elif verb == "delete":
                await writer.delete([document_id])
                texts.pop(document_id, None)
            elif verb == "publish":
                await writer.publish()
                segment, version = following(writer.collection), published(writer.collection)
            else:
                version = segment.follow() or version
                stored = {text for of_one in texts.values() for text in of_one}
                for word in WORDS:
                    found = found_texts(version, word)
                    assert found == {"dense": stored, "bm25": {text for text in stored if word in text}}
        await writer.publish()
        await writer.close()
        again = await stored_anew(create(tmp_path_factory.mktemp("collections")), texts)
        for word in WORDS:
            assert ordered(published(writer.collection), word) == ordered(again, word)

    asyncio.run(run())


async def stored_anew(collection: Collection, texts: dict[str, list[str]]) -> Version:
    """A version of these documents, stored once and in order."""
    writer = open_writer(collection)
    for document_id in sorted(texts):
        await writer.append(record(writer, document_id, *texts[document_id]))
    await writer.publish()
    await writer.close()
    return published(collection)


def ordered(version: Version, word: str) -> list[tuple[str, float]]:
    """Texts and scores of both legs, best first."""
    found = [*version.dense.search(QUESTION, ALL), *version.sparse.search(word, ALL)]
    passages = version.sparse.passages([one.row for one in found])
    return [(passage.text, one.score) for passage, one in zip(passages, found, strict=True)]
