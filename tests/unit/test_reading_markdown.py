"""Markdown becomes sections that are verbatim slices of its text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.reading.markdown import parse_markdown
from cli.reading.plain_text import parse_plain_text
from tests.unit.files_to_read import document_of, reading_of

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


@given(st.text(alphabet=st.sampled_from("# -=`>\n\r\tab日*[]()1.\u2028\x0c"), max_size=80))
def test_sections_of_any_text_are_slices_that_follow_each_other(text: str) -> None:
    end = 0
    for part in parse_markdown(text).parts:
        assert part.start >= end
        end = part.start + len(part.text)
        assert text[part.start : end] == part.text != ""


def test_plain_text_is_one_section_whatever_it_looks_like() -> None:
    (part,) = parse_plain_text("\n  # not a heading\nwords \n\n").parts
    assert (part.heading_path, part.text, part.start) == ((), "# not a heading\nwords", 3)


def test_a_document_carries_title_uri_and_ranges(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, "a.md", b"\xef\xbb\xbf# Head\n\nbody of the document")
    document = document_of(reading)
    assert (document.document_id, document.title) == ("a.md", "Head")
    assert document.uri == (tmp_path / "a.md").as_uri()
    assert (document.sections[0].range.start, document.sections[0].range.end) == (8, 28)
    assert list(document.sections[0].heading_path) == ["Head"]
    assert not document.sections[0].HasField("page")
    assert (reading.name, reading.reason, reading.is_last) == (str(tmp_path / "a.md"), "", True)
    assert (reading.num_bytes, dict(reading.dropped)) == (31, {})


def test_a_text_without_a_heading_is_named_after_its_file(tmp_path: Path) -> None:
    assert document_of(reading_of(tmp_path, "notes.txt", "words")).title == "notes.txt"


def test_headings_longer_than_the_contract_allows_are_cut(tmp_path: Path) -> None:
    document = document_of(reading_of(tmp_path, "a.md", f"# {'x' * 2_000}\n\nwords"))
    assert len(document.title) == 512
    assert [len(heading) for heading in document.sections[0].heading_path] == [512]
