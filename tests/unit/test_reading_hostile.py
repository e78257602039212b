"""A folder of hostile files: each is named with its reason, and the rest are read."""

import io
import os
import zipfile
from collections.abc import Callable

import pytest

from cli.reading.read import ReadOptions, read_all
from tests.unit.files_to_read import pdf, word, write


def zipped(name: str, content: bytes) -> bytes:
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return archive_bytes.getvalue()


def nested(depth: int) -> bytes:
    content = zipped("a.md", b"deep")
    for _ in range(depth):
        content = zipped("inner.zip", content)
    return content


def overlong_json() -> bytes:
    return b'{"text": "' + b"x" * 50_000_000 + b'"}\n{"text": "after the long line"}\n'


HOSTILE: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "bad-crc.zip": (lambda: zipped("a.md", b"words" * 99).replace(b"PK\x01\x02", b"PK\x01\x03"), "is a damaged zip"),
    "binary.md": (os.urandom(4_000) + b"\0", "is no text: byte "),
    "binary-without-nul.txt": (bytes(range(128, 256)) * 40 + bytes(range(1, 32)) * 9, "is no text: byte "),
    "blank.txt": (b"\n \t\n", "holds no text"),
    "bomb.zip": (lambda: zipped("zeros.md", bytes(60_000_000)), "unpacks to more than 33,554,432 bytes"),
    "bomb-nested.zip": (lambda: zipped("in.zip", zipped("zeros.md", bytes(60_000_000))), "unpacks to more than"),
    "cut.docx": (lambda: word(("Normal", "words"))[:5_000], "is a damaged DOCX"),
    "cut.pdf": (lambda: pdf([["words"]])[:600], "is a damaged PDF"),
    "cut.tar.gz": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "is damaged: Compressed file ended"),
    "cut.zip": (lambda: zipped("a.md", b"words")[:-9], "is a damaged zip archive"),
    "deep.zip": (lambda: nested(4), "is an archive 2 archives deep"),
    "empty.csv": (b"", "holds no text"),
    "empty.docx": (b"", "holds no text"),
    "empty.md": (b"", "holds no text"),
    "empty.pdf": (b"", "holds no text"),
    "encrypted.pdf": (lambda: pdf([["secret"]], password="x"), "is encrypted: it needs a password"),
    "gzip.txt": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "is packed by gzip, which its name does not say"),
    "huge.md": (b"x" * 16_000_000, "is too large: 16,000,000 bytes, at most 15,728,640"),
    "huge.txt": (b"word " * 900_000, "is too large: 4,500,000 characters, at most 4,000,000"),
    "image.txt": (b"\x89PNG\r\n\x1a\n\0\0", "is a PNG image"),
    "many-sections.md": (b"# a\n\nb\n\n" * 50_001, "is too large: 50,001 sections"),
    "no-rows.csv": (b"id,text\n", "holds no rows below the names"),
    "no-json.jsonl": (b"no json\n", "line 1 is no JSON"),
    "nul.txt": (b"ab\0cd", "is no text: byte 2 is NUL"),
    "old.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is an old Office file, or one with a password"),
    "overlong.jsonl": (overlong_json, "line 1 is too large: 50,000,013 bytes"),
    "program.txt": (b"\x7fELF\x02\x01", "is a program"),
    "scanned.pdf": (lambda: pdf([[], [], []]), "holds no text: its 3 pages are images or empty"),
    "script.html": (b"<html><body><script>alert(1)</script></body></html>", "holds no text"),
    "text.docx": (b"words", "is no DOCX, though its name says so"),
    "text.pdf": (b"words", "is no PDF, though its name says so"),
    "text.zip": (b"words", "is no zip archive, though its name says so"),
    "unclosed.csv": (b'id,text\n1,"' + b"words\n" * 3_000_000, "has a row of more than 15,728,640 characters"),
    "zip.txt": (lambda: zipped("a.md", b"words"), "is a zip archive, which its name does not say"),
}
"""Content and how the reason begins, by name."""
READABLE: dict[str, bytes | Callable[[], bytes]] = {
    "good.md": b"# Good\n\nwords",
    "good.pdf": lambda: pdf([["words"]]),
    "pdf.txt": lambda: pdf([["words"]]),
    "escape.zip": lambda: zipped("../../../escape.md", b"words"),
    "page.docx": b"<!doctype html><html><body><p>words</p></body></html>",
    "zz-last.docx": lambda: word(("Normal", "words")),
}


@pytest.fixture(scope="module")
def reasons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What reading the whole folder said of each file, empty for a document."""
    folder = tmp_path_factory.mktemp("hostile")
    contents = {name: content for name, (content, _) in HOSTILE.items()} | READABLE
    for name, content in contents.items():
        write(folder, name, content if isinstance(content, bytes) else content())
    os.mkfifo(folder / "pipe.md")
    (folder / "dangling.md").symlink_to(folder / "nowhere.md")
    (folder / "circle.md").symlink_to(folder / "circle.md")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.md").mkdir()
    write(folder, os.fsdecode(b"b\xffd.md"), "words")
    write(folder, "shut.md", "words").chmod(0)
    write(folder, f"{'x' * 120}/{'y' * 120}/{'z' * 120}.md", "words")
    found: dict[str, list[str]] = {}
    for reading in read_all([folder], ReadOptions(workers=2)):
        name = reading.name.removeprefix(f"{folder}/").partition("/")[0]
        found.setdefault(name, []).append("" if reading.document else reading.reason)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_with_its_reason(reasons: dict[str, list[str]], name: str) -> None:
    assert any(reason.startswith(HOSTILE[name][1]) for reason in reasons[name]), reasons[name]


@pytest.mark.parametrize("name", READABLE)
def test_the_rest_are_read(reasons: dict[str, list[str]], name: str) -> None:
    assert reasons[name] == [""]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe.md", "is not a regular file"),
        ("dangling.md", "cannot be read: No such file or directory"),
        ("circle.md", "cannot be read: Too many levels of symbolic links"),
        ("loop", "is a link to a folder above it"),
        ("b\ufffdd.md", "its name is not UTF-8"),
        ("x" * 120, "its path is longer than 256 characters"),
        pytest.param(
            "shut.md",
            "cannot be read: Permission denied",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file"),
        ),
    ],
)
def test_what_is_no_plain_file_is_named_with_its_reason(reasons: dict[str, list[str]], name: str, reason: str) -> None:
    assert reasons[name] == [reason]


def test_a_line_after_an_overlong_one_is_read(reasons: dict[str, list[str]]) -> None:
    assert reasons["overlong.jsonl"][1:] == [""]
