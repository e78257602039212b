"""A version is read only if every byte is what was published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from services.retriever.collection import Collection
from services.retriever.fingerprint import differences, digest, makers
from services.retriever.manifest import LOCKS, CorruptVersion
from services.retriever.version import EncoderMismatch, load
from tests.unit.collections_on_disk import ENCODER, create, publish_texts


async def published(tmp_path: Path) -> tuple[Collection, Path]:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer", b="the log")
    return collection, collection.version_path(1)


def load_published(collection: Collection) -> None:
    pointer = collection.pointer()
    assert pointer is not None
    load(collection, pointer, ENCODER)


async def test_every_file_that_is_damaged_cut_or_gone_is_named(tmp_path: Path) -> None:
    collection, version = await published(tmp_path)
    load_published(collection)
    files = [path for path in sorted(version.rglob("*")) if path.is_file() and path.name not in LOCKS]
    assert {"dense.faiss", "manifest.json", "meta.json"} <= {path.name for path in files}
    for path in files:
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), bytes([whole[0] ^ 1]) + whole[1:], None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            with pytest.raises(CorruptVersion, match=path.name):
                load_published(collection)
            path.write_bytes(whole)
    load_published(collection)


async def test_a_file_that_nobody_published_is_named(tmp_path: Path) -> None:
    collection, version = await published(tmp_path)
    (version / "sparse" / "stranger").touch()
    with pytest.raises(CorruptVersion, match="sparse/stranger"):
        load_published(collection)


async def test_the_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    collection, version = await published(tmp_path)
    await publish_texts(collection, c="more")
    shutil.copy(version / "manifest.json", collection.version_path(2) / "manifest.json")
    with pytest.raises(CorruptVersion, match=r"manifest\.json"):
        load_published(collection)


async def test_another_encoders_version_is_refused_with_what_differs(tmp_path: Path) -> None:
    collection, _ = await published(tmp_path)
    pointer = collection.pointer()
    assert pointer is not None
    with pytest.raises(EncoderMismatch) as refused:
        load(collection, pointer, {**ENCODER, "weights": "def", "pooling": "cls"})
    assert refused.value.differences == {
        "pooling": "index: absent; encoder: cls",
        "weights": "index: abc; encoder: def",
    }


def test_a_fingerprints_digest_depends_on_every_property_and_no_order() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert digest({"a": "1", "b": "2"}) != digest({"a": "1", "b": "3"})
    assert differences({"a": "1"}, {"a": "1"}) == {}


def test_a_limit_of_the_encoder_is_not_hidden_by_one_of_the_splitter() -> None:
    splitter = {"max_tokens": "128"}
    assert makers({"max_tokens": "256"}, splitter)[0] != makers({"max_tokens": "512"}, splitter)[0]
