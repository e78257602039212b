"""Files on disk become documents whose sections are verbatim slices, or are refused with a reason."""

from pathlib import Path

import pytest

from cli.documents import MAX_BYTES, Source, Unreadable, find_sources, read_document
from cli.parsers import parse_markdown

GUIDE = """---
title: not the title
---
Before any heading.

# Guide

Opening words.

## Installing `uv`

Run **this**:

```
# not a heading
```

> ## not a heading either

Setext
------

Ünder it: 日本.

### Deep

down

## Empty
# Second part
end
"""


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def source(path: Path) -> Source:
    return Source(path, path.name)


def test_each_heading_opens_a_section_with_the_headings_above_it() -> None:
    parsed = parse_markdown(GUIDE)
    assert [(part.heading_path, part.text.splitlines()[0]) for part in parsed.parts] == [
        ((), "Before any heading."),
        (("Guide",), "Opening words."),
        (("Guide", "Installing uv"), "Run **this**:"),
        (("Guide", "Setext"), "Ünder it: 日本."),
        (("Guide", "Setext", "Deep"), "down"),
        (("Second part",), "end"),
    ]


def test_the_title_is_the_first_heading_of_level_one() -> None:
    assert parse_markdown(GUIDE).title == "Guide"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old-mac"])
def test_a_section_is_exactly_what_stands_at_its_range(line_end: str) -> None:
    text = GUIDE.replace("\n", line_end)
    parts = parse_markdown(text).parts
    assert len(parts) == 6
    for part in parts:
        assert text[part.start : part.start + len(part.text)] == part.text


def test_characters_that_other_tools_take_for_line_ends_move_no_section() -> None:
    text = "one\u2028two\x0cthree\x85four\n\n# Head\n\nbody\n"
    parts = parse_markdown(text).parts
    assert [(part.heading_path, part.text) for part in parts] == [
        ((), "one\u2028two\x0cthree\x85four"),
        (("Head",), "body"),
    ]


def test_a_rule_that_is_never_closed_is_no_front_matter() -> None:
    assert parse_markdown("---\n\ntext\n").parts[0].text.endswith("text")


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    document = read_document(source(write(tmp_path, "a.md", b"\xef\xbb\xbf# Head\n\nbody")))
    assert document.title == "Head"
    assert document.sections[0].range.start == len("# Head\n\n")


def test_plain_text_is_one_section_named_after_its_file(tmp_path: Path) -> None:
    document = read_document(source(write(tmp_path, "notes.txt", "\n  # not a heading\nwords \n\n")))
    assert document.title == "notes.txt"
    assert [section.text for section in document.sections] == ["# not a heading\nwords"]
    assert (document.sections[0].range.start, document.sections[0].range.end) == (3, 24)
    assert document.uri == (tmp_path / "notes.txt").as_uri()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        pytest.param("a.md", b"", "holds no text", id="empty"),
        pytest.param("a.md", b" \n\n", "holds no text", id="blank"),
        pytest.param("a.md", b"# Head\n\n## Only headings\n", "holds no text", id="only-headings"),
        pytest.param("a.md", b"abc\xff", "is not UTF-8: byte 3 cannot be decoded", id="not-utf-8"),
        pytest.param("a.txt", b"ab\0c", "is no text: byte 2 is NUL", id="binary"),
        pytest.param("a.txt", b"x" * (MAX_BYTES + 1), "is too large: 15,728,641 bytes", id="too-many-bytes"),
        pytest.param("a.txt", b"x" * 4_000_001, "is too large: 4,000,001 characters", id="too-many-characters"),
        pytest.param("a.docx", b"words", "is of no known kind; known are .md,", id="unknown-suffix"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}"):
        read_document(source(write(tmp_path, name, content)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        read_document(source(tmp_path / "absent.md"))


def test_a_folder_stands_for_the_files_of_known_kinds_below_it_in_order(tmp_path: Path) -> None:
    for name in ("docs/b.md", "docs/a.MD", "docs/sub/c.txt", "docs/.git/d.md", "docs/e.png", "docs/.f.md"):
        write(tmp_path, name, "text")
    ids = [one.document_id for one in find_sources(tmp_path / "docs")]
    assert ids == ["docs/a.MD", "docs/b.md", "docs/sub/c.txt"]


def test_document_ids_do_not_change_with_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "docs/sub/a.md", "text")
    monkeypatch.chdir(tmp_path / "docs" / "sub")
    assert [one.document_id for one in find_sources(Path(".."))] == ["docs/sub/a.md"]
    assert [one.document_id for one in find_sources(Path("a.md"))] == ["a.md"]
