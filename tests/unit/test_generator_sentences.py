"""Passages fall into the sentences that a reader sees."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.validation import MAX_PASSAGE_CHARACTERS
from services.generator.engines.sentences import MAX_CHARACTERS, split


def prose(text: str) -> list[str]:
    return [text[one.start : one.end] for one in split(text) if one.kind == "prose"]


CASES = {
    "ends": ("One is here. Two is there! Where is three? Yes, it is.", 4),
    "abbreviations": ("Engines, e.g. BART, run as Dr. J. Smith said. Others vs. them do not.", 2),
    "numbers": ("It takes 3.5 s at version 1.2. Then it stops.", 2),
    "files": ("Edit config.yaml first. Then run it.", 2),
    "closing marks": ('He said "it works." Then (as one does.) He left.', 3),
    "code": ("Set it to `max_skips`. `trivium up` starts it.", 2),
    "run-in heads": ("**Retriever.** Encoders are two kinds.", 1),
    "chinese": ("文档中的句子。第二句！第三句", 3),
    "spaced ends": ("study of a wing in a slipstream . an experimental study was made .", 2),
    "lower case after a dot": ("It is v. good at that. All right then.", 2),
}


@pytest.mark.parametrize(("text", "count"), CASES.values(), ids=CASES)
def test_a_paragraph_falls_into_its_sentences(text: str, count: int) -> None:
    assert len(prose(text)) == count


def test_a_sentence_spans_wrapped_lines() -> None:
    assert prose("The queue stands\napart from it. The\nrest follows.") == [
        "The queue stands\napart from it.",
        "The\nrest follows.",
    ]


def test_list_items_are_sentences_without_their_markers() -> None:
    text = "Intro to it:\n\n- first item spans\n  two lines\n- second one\n\n1. third one here\n> quoted words here"
    assert prose(text) == [
        "Intro to it:",
        "first item spans\n  two lines",
        "second one",
        "third one here",
        "quoted words here",
    ]


def test_headings_code_and_tables_are_no_prose() -> None:
    text = "# A heading here\n\nProse is this.\n\n```\ncode. And code.\n```\n\n| a | b |\n|---|---|\n| c | d |\n"
    assert prose(text) == ["Prose is this."]
    kinds = [(text[one.start : one.end], one.kind) for one in split(text)]
    assert ("| c | d |", "row") in kinds
    assert ("| a | b |", "other") in kinds, "a table's heading answers nothing"
    assert ("# A heading here", "other") in kinds


def test_a_table_that_began_elsewhere_is_rows_still() -> None:
    text = "Port 0 takes a free one. |\n| `depth` | Entries that wait. |\n|\nProse follows. It ends.\n"
    found = [(text[one.start : one.end], one.kind) for one in split(text)]
    assert found == [
        ("Port 0 takes a free one. |", "row"),
        ("| `depth` | Entries that wait. |", "row"),
        ("Prose follows. It ends.", "prose"),
    ]


def test_a_sentence_that_leans_on_the_one_before_brings_it_along() -> None:
    assert prose("The reranker scores candidates. It never drops one.") == [
        "The reranker scores candidates.",
        "The reranker scores candidates. It never drops one.",
    ]


def test_a_stretch_without_ends_is_cut_after_semicolons() -> None:
    text = "; ".join(f"part number {number} of a very long enumeration" for number in range(40))
    pieces = prose(text)
    assert all(len(piece) <= MAX_CHARACTERS for piece in pieces)
    assert all(piece.endswith(";") for piece in pieces[:-1])


def test_windows_line_ends_change_nothing() -> None:
    assert prose("One is here. Two\r\nis here.\r\n\r\n- three is here\r\n") == [
        "One is here.",
        "Two\r\nis here.",
        "three is here",
    ]


MARKDOWN = st.lists(
    st.sampled_from(
        [*"ab.!?。 \n\t\r|-#>`*_:;1", "\n\n", "- ", "> ", "```", "| a |", "It is. ", "word ", "\x00", "é", "🙂", "<b>"]
    ),
    max_size=60,
).map("".join)


@given(st.text(max_size=80) | MARKDOWN)
def test_every_sentence_is_a_slice_with_text_in_it(text: str) -> None:
    sentences = split(text)
    if text.strip():
        assert sentences
        for one in sentences:
            assert 0 <= one.start < one.end <= len(text)
            slice_ = text[one.start : one.end]
            assert slice_ == slice_.strip()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", [". ", ".", ".)", '."', "…", "。", "; ", "a. ", "*", "`", "[", "<", "|", "> ", "- ", "#"]
)
def test_a_long_run_of_anything_is_split_in_time_that_grows_with_its_length(text: str) -> None:
    def seconds(num_characters: int) -> float:
        began = time.perf_counter()
        split(text * (num_characters // len(text)))
        return time.perf_counter() - began

    assert seconds(MAX_PASSAGE_CHARACTERS) < 2
