"""Arguments stand for files, in a stable order, with ids that do not depend on where one stands."""

import os
from pathlib import Path

import pytest

from cli.reading.folders import count_files, find_sources
from tests.unit.files_to_read import write


def ids(argument: Path) -> list[str]:
    return [source.document_id for source in find_sources(argument)]


def test_a_folder_stands_for_the_files_of_known_kinds_below_it_in_order(tmp_path: Path) -> None:
    names = ("docs/b.md", "docs/a.MD", "docs/sub/c.txt", "docs/x.tar.gz", "docs/y.gz", "docs/e.png", "docs/.f.md")
    for name in (*names, "docs/.git/d.md"):
        write(tmp_path, name, "text")
    assert ids(tmp_path / "docs") == ["docs/a.MD", "docs/b.md", "docs/x.tar.gz", "docs/sub/c.txt"]
    assert count_files([tmp_path / "docs", tmp_path / "docs" / "e.png"]) == 5


def test_document_ids_do_not_change_with_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "docs/sub/a.md", "text")
    monkeypatch.chdir(tmp_path / "docs" / "sub")
    assert ids(Path("..")) == ["docs/sub/a.md"]
    assert ids(Path("a.md")) == ["a.md"]


def test_links_to_folders_are_named_and_not_followed(tmp_path: Path) -> None:
    write(tmp_path, "docs/a.md", "text")
    write(tmp_path, "other/b.md", "text")
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs")
    (tmp_path / "docs" / "other").symlink_to(tmp_path / "other")
    assert {source.document_id: source.reason for source in find_sources(tmp_path / "docs")} == {
        "docs/loop": "is a link to a folder above it",
        "docs/other": "is a link to a folder; give that folder itself to have it read",
        "docs/a.md": "",
    }


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, "other/b.md", "text")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").symlink_to(tmp_path / "other" / "b.md")
    assert ids(tmp_path / "docs") == ["docs/a.md"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    write(tmp_path, "docs/shut/a.md", "text")
    (tmp_path / "docs" / "shut").chmod(0)
    try:
        reasons = [source.reason for source in find_sources(tmp_path / "docs")]
    finally:
        (tmp_path / "docs" / "shut").chmod(0o700)
    assert reasons == ["cannot be listed: Permission denied"]
