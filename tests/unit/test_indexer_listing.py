"""What a collection holds is listed in order, whatever is stored meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

from services.retriever.indexer.documents import Stored
from services.retriever.indexer.listing import BLOCK, list_blocking
from services.retriever.record import Location
from tests.unit.collections_on_disk import create, open_writer, record

OURS = "ours"


def stored(content_hash: str, made_by: str = OURS) -> Stored:
    return Stored(Location(0, 1), content_hash, made_by, 1)


def test_more_documents_than_one_block_are_in_order() -> None:
    document_ids = [f"{number}" for number in range(2 * BLOCK + 1)] + ["Ä", "中", "🙂", ""]
    random.Random(1).shuffle(document_ids)
    listed = list(list_blocking({name: stored(f"hash of {name}") for name in document_ids}, OURS.__eq__))
    assert [one.document_id for one in listed] == sorted(document_ids)
    assert all(one.content_hash == f"hash of {one.document_id}" for one in listed)


def test_a_document_that_another_encoder_made_has_no_hash() -> None:
    by_id = {"current": stored("a"), "old": stored("b", "another encoder")}
    assert {one.document_id: one.content_hash for one in list_blocking(by_id, OURS.__eq__)} == {
        "current": "a",
        "old": "",
    }


async def test_what_is_stored_while_it_is_read_is_listed_next_time(tmp_path: Path) -> None:
    writer = open_writer(create(tmp_path))
    await writer.append(record(writer, "b", "one"))
    listing = list_blocking(writer.all_stored(), writer.is_made_here)
    await writer.append(record(writer, "a", "two"))
    await writer.append(record(writer, "b", "changed"))
    assert [(one.document_id, one.content_hash) for one in listing] == [("b", repr(("one",)))]
    again = list_blocking(writer.all_stored(), writer.is_made_here)
    assert [(one.document_id, one.content_hash) for one in again] == [("a", repr(("two",))), ("b", repr(("changed",)))]
