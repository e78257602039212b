"""The directory of a collection, and its pointer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.retriever.analyzer import Analyzer
from services.retriever.collection import (
    NAME,
    Collection,
    CorruptPointer,
    Pointer,
    Settings,
    UnknownFormat,
    directories,
)
from services.retriever.index_kind import IndexKind, Metric

SETTINGS = Settings(Analyzer.of("de", stop_words=False), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize("name", ["a", "0", "docs-2_b", "a" * 64])
def test_such_names_are_allowed(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "A", "-a", "_a", "a" * 65, "a\n", "ä", "a\0", "١"])
def test_such_names_never_become_a_path(name: str, tmp_path: Path) -> None:
    assert not NAME.fullmatch(name)
    with pytest.raises(AssertionError):
        Collection.named(tmp_path, name)


def test_settings_are_what_they_were(tmp_path: Path) -> None:
    collection = Collection.named(tmp_path, "docs")
    assert not collection.exists()
    collection.create(SETTINGS)
    assert collection.exists()
    assert collection.settings() == SETTINGS


def test_the_index_kind_is_among_the_settings(tmp_path: Path) -> None:
    settings = replace(SETTINGS, kind=IndexKind.parse("IVF64,PQ8", Metric.COSINE))
    collection = Collection.named(tmp_path, "docs")
    collection.create(settings)
    assert collection.settings() == settings


def test_a_collection_whose_creation_was_killed_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".docs.partial" / "log").mkdir(parents=True)
    assert list(directories(tmp_path)) == []
    Collection.named(tmp_path, "docs").create(SETTINGS)
    assert [collection.name for collection in directories(tmp_path)] == ["docs"]


def test_the_pointer_is_absent_until_the_first_flip(tmp_path: Path) -> None:
    collection = Collection.named(tmp_path, "docs")
    collection.create(SETTINGS)
    assert collection.pointer() is None
    for index_version in (1, 2):
        collection.flip(Pointer(index_version, "abc"))
        assert collection.pointer() == Pointer(index_version, "abc")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"index_version": 1}', '"x"'])
def test_a_pointer_that_says_nothing_is_named(tmp_path: Path, content: str) -> None:
    collection = Collection.named(tmp_path, "docs")
    collection.create(SETTINGS)
    (collection.path / "published").write_text(content)
    with pytest.raises(CorruptPointer, match="published"):
        collection.pointer()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    collection = Collection.named(tmp_path, "docs")
    collection.create(SETTINGS)
    path = collection.path / "collection.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UnknownFormat, match="format 2"):
        collection.settings()


def test_no_directory_means_no_collections(tmp_path: Path) -> None:
    assert list(directories(tmp_path / "absent")) == []


def test_creating_a_collection_that_is_there_leaves_it_as_it_is(tmp_path: Path) -> None:
    collection = Collection.named(tmp_path, "docs")
    collection.create(SETTINGS)
    collection.create(Settings(Analyzer.of("en"), SETTINGS.created_at))
    assert collection.settings() == SETTINGS
