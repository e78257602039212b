"""Archives are read member by member, within bounds, and never written to disk."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import pytest

from cli.reading.options import ReadOptions
from tests.unit.files_to_read import document_of, readings_of, write

FILES = {"docs/a.md": b"# A\n\nalpha", "b.txt": b"beta", "c.png": b"\x89PNG", ".hidden.md": b"x", "__MACOSX/d.md": b"x"}


def zipped(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def tarred(files: Mapping[str, bytes], compression: str = "") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=cast(Literal["w:gz"], f"w:{compression}")) as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return content.getvalue()


def outcomes(folder: Path, name: str, content: bytes, options: ReadOptions | None = None) -> dict[str, str]:
    """Text or reason by name inside the folder."""
    readings = readings_of(write(folder, name, content), options)
    assert [reading.is_last for reading in readings] == [False] * (len(readings) - 1) + [True]
    return {
        reading.name.removeprefix(f"{folder}/"): reading.document.sections[0].text
        if reading.document
        else reading.reason
        for reading in readings
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.zip", zipped(FILES)),
        ("x.tar", tarred(FILES)),
        ("x.tar.gz", tarred(FILES, "gz")),
        ("x.tgz", tarred(FILES, "gz")),
        ("x.tar.bz2", tarred(FILES, "bz2")),
        ("x.tar.xz", tarred(FILES, "xz")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_files_of_known_kinds_in_an_archive_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    assert outcomes(tmp_path, name, content) == {f"{name}/docs/a.md": "alpha", f"{name}/b.txt": "beta"}


def test_a_member_has_an_id_and_a_uri_of_its_own(tmp_path: Path) -> None:
    reading = readings_of(write(tmp_path, "x.zip", zipped({"docs/a b.md": b"words"})))[0]
    document = document_of(reading)
    assert (document.document_id, document.title) == ("x.zip/docs/a b.md", "a b.md")
    assert document.uri == f"{(tmp_path / 'x.zip').as_uri()}#docs/a%20b.md"


def test_names_that_lead_out_of_the_archive_lead_nowhere(tmp_path: Path) -> None:
    files = {"../../etc/a.md": b"one", "/root/b.md": b"two", "C:\\c.md": b"three"}
    expected = {"x.zip/etc/a.md": "one", "x.zip/root/b.md": "two", "x.zip/C:/c.md": "three"}
    assert outcomes(tmp_path, "x.zip", zipped(files)) == expected
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["x.zip"]


def test_an_archive_in_an_archive_is_read_and_one_in_that_is_not(tmp_path: Path) -> None:
    inner = {"a.md": b"inner", "deep.tar": tarred({"c.md": b"deep"})}
    files = {"inner.zip": zipped(inner), "b.md": b"outer"}
    assert outcomes(tmp_path, "x.tar", tarred(files)) == {
        "x.tar/inner.zip/a.md": "inner",
        "x.tar/inner.zip/deep.tar": "is an archive 2 archives deep, at most 1 are opened",
        "x.tar/b.md": "outer",
    }


ZEROS = bytes(200_000_000)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "nested"])
def test_an_archive_bomb_is_named_before_it_unpacks(tmp_path: Path, kind: str) -> None:
    files = {"a.md": b"before", "zeros.bin" if kind == "tar.gz" else "zeros.md": ZEROS[:60_000_000], "b.md": b"after"}
    content = tarred(files, "gz") if kind == "tar.gz" else zipped(files)
    name = f"x.{kind}"
    if kind == "nested":
        name, content = "x.zip", zipped({"one.zip": content, "two.zip": content})
    found = outcomes(tmp_path, name, content)
    assert "before" in found.values()
    assert "after" not in found.values()
    assert any("unpacks to more than" in reason for reason in found.values())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (ReadOptions(max_archive_members=2), "holds more than 2 entries; the rest is not read"),
        (ReadOptions(max_archive_bytes=9), "unpacks to more than 9 bytes; the rest is not read"),
        (ReadOptions(max_archive_depth=0), ""),
    ],
    ids=["members", "bytes", "depth"],
)
def test_bounds_are_options(tmp_path: Path, options: ReadOptions, reason: str) -> None:
    found = outcomes(tmp_path, "x.zip", zipped({f"{number}.md": b"four" for number in range(5)}), options)
    if reason:
        assert found == {"x.zip/0.md": "four", "x.zip/1.md": "four", "x.zip": reason}
    else:
        assert len(found) == 5, "the archive on disk itself is always opened"


def encrypted(content: bytes) -> bytes:
    """With the flag that says so set for its only member, in both places."""
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    changed = bytearray(content)
    changed[local + 6] |= 1
    changed[central + 8] |= 1
    return bytes(changed)


def corrupted(content: bytes) -> bytes:
    place = content.index(b"words of a member")
    return content[:place] + b"other" + content[place + 5 :]


def stored(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "at", "reason"),
    [
        ("x.zip", encrypted(zipped({"a.md": b"x"})), "x.zip/a.md", "is encrypted"),
        ("x.zip", corrupted(stored({"a.md": b"words of a member"})), "x.zip/a.md", "is damaged: Bad CRC-32"),
        ("x.zip", zipped(FILES)[:-30], "x.zip", "is a damaged zip archive"),
        ("x.tar.gz", tarred(FILES, "gz")[:100], "x.tar.gz", "is damaged: Compressed file ended"),
        ("x.tar", tarred({"a.md": b"words" * 1_000})[:2_000], "x.tar", "is damaged: unexpected end of data"),
        ("x.zip", zipped({}), "x.zip", "holds no documents"),
        ("x.zip", b"words", "x.zip", "is no zip archive, though its name says so"),
        ("x.tar.xz", b"\xfd7zXZ\0" + b"x" * 99, "x.tar.xz", "is damaged: "),
    ],
    ids=["encrypted", "corrupted", "cut-zip", "cut-gzip", "cut-tar", "empty", "text", "bad-xz"],
)
def test_a_broken_archive_is_named(tmp_path: Path, name: str, content: bytes, at: str, reason: str) -> None:
    assert outcomes(tmp_path, name, content)[at].startswith(reason)
