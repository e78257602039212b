"""PDF becomes a section per page, with its words whole and without what every page repeats."""

from pathlib import Path

import pytest

from cli.reading.page_text import with_words_mended, without_running_lines
from tests.unit.files_to_read import document_of, pdf, reading_of, texts_of

BODIES = ["Bees dance.", "Ants carry leaves.", "Wasps build nests.", "Moths find lamps."]
REPORT = [
    ["Annual report 2026", body, "It was measured twice.", "Nobody was stung.", f"Page {number} of 4"]
    for number, body in enumerate(BODIES, start=1)
]


def test_every_page_is_a_section_that_opens_at_it(tmp_path: Path) -> None:
    document = document_of(reading_of(tmp_path, "a.pdf", pdf([["First page."], ["Second page."]], title="Insects")))
    assert document.title == "Insects"
    assert texts_of(document) == ["First page.", "Second page."]
    assert [section.page for section in document.sections] == [1, 2]
    assert [section.uri for section in document.sections] == [f"{document.uri}#page=1", f"{document.uri}#page=2"]
    assert [(section.range.start, section.range.end) for section in document.sections] == [(0, 11), (13, 25)]


def test_running_headers_and_page_numbers_are_dropped_and_counted(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, "a.pdf", pdf(REPORT))
    assert [text.splitlines()[0] for text in texts_of(document_of(reading))] == BODIES
    assert not any("Annual report" in text or "of 4" in text for text in texts_of(document_of(reading)))
    assert reading.dropped["running_headers"] >= 8


def test_lines_that_few_pages_share_stay() -> None:
    pages = ["Summary\nsame\na1\nb\nc", "Summary\nother\na2\nb1\nc1", "x\ny\nz\nv\nw"]
    assert without_running_lines(pages) == (pages, 0)


def test_pages_that_hold_nothing_but_what_repeats_stay() -> None:
    pages = ["Form 1\nSign here"] * 4
    assert without_running_lines(pages) == (pages, 0)


def test_words_broken_at_a_line_end_are_whole_again(tmp_path: Path) -> None:
    lines = ["The dog inter-", "rupted a well-", "known speaker from Baden-", "Baden, who is well-known."]
    reading = reading_of(tmp_path, "a.pdf", pdf([lines]))
    (text,) = texts_of(document_of(reading))
    words = "The dog interrupted a well-known speaker from Baden-Baden, who is well-known."
    assert " ".join(text.split()) == words
    assert reading.dropped == {"mended_hyphens": 3}


def test_hyphens_inside_a_line_stay() -> None:
    assert with_words_mended(["state-of-the-art\n- a list\n-- a dash --\nend"])[1] == 0


def test_a_page_stands_under_the_bookmarks_that_lead_to_it(tmp_path: Path) -> None:
    pages = [["cover"], ["one"], ["one a"], ["one a, more"], ["two"]]
    document = document_of(reading_of(tmp_path, "a.pdf", pdf(pages, bookmarks="-12-1")))
    assert [list(section.heading_path) for section in document.sections] == [
        [],
        ["Heading 2"],
        ["Heading 2", "Heading 3"],
        ["Heading 2", "Heading 3"],
        ["Heading 5"],
    ]


def test_pages_without_text_are_counted(tmp_path: Path) -> None:
    reading = reading_of(tmp_path, "a.pdf", pdf([["words"], [], ["more"]]))
    assert [section.page for section in document_of(reading).sections] == [1, 3]
    assert reading.dropped == {"pages_without_text": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(pdf([["secret"]], password="x"), "is encrypted: it needs a password", id="encrypted"),
        pytest.param(pdf(REPORT)[:900], "is a damaged PDF: ", id="truncated"),
        pytest.param(b"%PDF-1.7\n", "is a damaged PDF: ", id="only-a-head"),
        pytest.param(pdf([[], []]), "holds no text: its 2 pages are images or empty", id="scanned"),
    ],
)
def test_a_pdf_without_readable_text_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reading_of(tmp_path, "a.pdf", content).reason.startswith(reason)


def test_a_pdf_is_read_as_one_whatever_its_name(tmp_path: Path) -> None:
    assert texts_of(document_of(reading_of(tmp_path, "a.txt", pdf([["Words."]])))) == ["Words."]
