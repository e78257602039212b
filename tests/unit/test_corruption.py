"""Any region of any file damaged or cut off: nothing of it is served, the file is named, and the rest goes on."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.retriever.collection import Collection, Pointer, UnknownFormat
from services.retriever.follower import Follower
from services.retriever.indexer.log import CorruptLog
from services.retriever.live import LiveSegment
from services.retriever.manifest import LOCKS, CorruptVersion
from services.retriever.record import FILE_NAME
from services.retriever.version import Version
from tests.unit.collections_on_disk import DIMENSION, ENCODER, create, open_writer, publish_texts, published, record

REGIONS = 16
"""Of each file."""
BEFORE = {"a": "the pointer"}
AFTER = {"b": "the log", "c": "a lock and its holder"}


class Silent:
    """Is told what is served, and keeps it to itself."""

    def served(self, collection: str, index_version: int, num_live_passages: int) -> None: ...

    def dropped(self, collection: str) -> None: ...


def damages(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Each region with one bit flipped in its middle, and cut off from its begin on."""
    for region in range(min(REGIONS, len(whole))):
        begin, end = (len(whole) * at // min(REGIONS, len(whole)) for at in (region, region + 1))
        middle = (begin + end) // 2
        yield f"region {region} flipped", whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :]
        yield f"cut at region {region}", whole[:begin]


def texts(version: Version) -> dict[str, str]:
    """What the dense leg finds."""
    rows = [one.row for one in version.dense.search(np.ones(DIMENSION, dtype=np.float32), 100)]
    return {passage.document_id: passage.text for passage in version.sparse.passages(rows)}


async def test_a_damaged_version_is_never_served_and_the_one_before_is(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, **BEFORE)
    await publish_texts(collection, **AFTER)
    whole = collection.version_path(2)
    shutil.move(collection.log_path, tmp_path / ".log")  # the log would show the later documents
    sha256 = hashlib.sha256((whole / "manifest.json").read_bytes()).hexdigest()
    pointer = collection.pointer()
    assert pointer == Pointer(2, sha256)
    manifest = (collection.version_path(1) / "manifest.json").read_bytes()
    collection.flip(Pointer(1, hashlib.sha256(manifest).hexdigest()))
    follower = Follower(tmp_path, ENCODER, 0.005, Silent())
    await follower.start()
    cases = Counter[str]()
    for path in [path for path in sorted(whole.rglob("*")) if path.is_file() and path.name not in LOCKS]:
        for _, data in damages(path.read_bytes()):
            number = 3 + cases.total()
            damaged = await asyncio.to_thread(_copy_of, collection, whole, number)
            (damaged / path.relative_to(whole)).write_bytes(data)
            collection.flip(Pointer(number, sha256))
            async with asyncio.timeout(10):
                with pytest.raises(CorruptVersion, match=re.escape(path.name)):
                    await follower.version("docs", number)
            served = await follower.version("docs")
            assert (served.index_version, texts(served)) == (1, BEFORE)
            cases[path.suffix or path.name] += 1
    print(cases)
    assert cases.total() >= 200
    await follower.stop()


def _copy_of(collection: Collection, version: Path, number: int) -> Path:
    path = collection.version_path(number)
    shutil.copytree(version, path)
    return path


async def test_a_damaged_pointer_keeps_what_is_served(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, **BEFORE)
    follower = Follower(tmp_path, ENCODER, 0.005, Silent())
    await follower.start()
    path = collection.path / "published"
    for damage, data in damages(path.read_bytes()):
        path.write_bytes(data)
        await asyncio.sleep(0.02)
        assert texts(await follower.version("docs")) == BEFORE, damage
    await follower.stop()


async def test_a_damaged_log_gives_no_document_that_was_not_stored(tmp_path: Path) -> None:
    """Of a damaged end nobody can tell whether it was acknowledged; what stands before it is as it was stored."""
    collection = create(tmp_path)
    await publish_texts(collection, **BEFORE)
    writer = open_writer(collection)
    for document_id, text in AFTER.items():
        await writer.append(record(writer, document_id, text, text.upper()))
    await writer.close()
    version = published(collection)
    path = collection.log_path / FILE_NAME
    stored = [dict(list((BEFORE | AFTER).items())[:number]) for number in range(4)]
    outcomes = Counter[str]()
    for damage, data in damages(path.read_bytes()):
        path.write_bytes(data)
        live = texts(LiveSegment(version, path).follow() or version)
        assert {name: text.lower() for name, text in live.items()} in stored[1:], damage
        names = await names_in_log(collection)
        assert names is None or names in [list(some) for some in stored], damage
        outcomes["refused" if names is None else "as it was before"] += 1
    print(outcomes)
    assert outcomes.keys() == {"refused", "as it was before"}


async def names_in_log(collection: Collection) -> list[str] | None:
    """The documents that a writer finds; None when it refuses the log."""
    try:
        writer = open_writer(collection)
    except CorruptLog as error:
        if FILE_NAME not in str(error):
            raise
        return None
    names = sorted(writer.all_stored())
    await writer.close()
    return names


async def test_damaged_settings_are_named_or_read_and_stop_nobody_who_serves(tmp_path: Path) -> None:
    collection = create(tmp_path)
    await publish_texts(collection, **BEFORE)
    follower = Follower(tmp_path, ENCODER, 0.005, Silent())
    await follower.start()
    path = collection.path / "collection.json"
    outcomes = Counter[str]()
    for damage, data in damages(path.read_bytes()):
        path.write_bytes(data)
        outcomes[settings_or_fault(collection)] += 1
        await asyncio.sleep(0.01)
        assert texts(await follower.version("docs")) == BEFORE, damage
    await follower.stop()
    print(outcomes)
    assert outcomes["named"] >= REGIONS


def settings_or_fault(collection: Collection) -> str:
    try:
        collection.settings()
    except UnknownFormat as error:
        return "named" if "collection.json" in str(error) else str(error)
    return "read"
