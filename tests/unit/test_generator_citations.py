"""A citation in an answer names a passage that the model has read, or it is not there."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.text.citations import CitationFilter

READ = ("a", "b", "c")
PIECES = [
    *("[1]", "[9]", "[2, 9]", " [7]", "【3】", "【8】", "[1-3]", "[2-9]", "[a]", "[2024]", "[]"),
    *("[", "]", "【", "】", "1", "9", "20", "0", ",", ", ", ";", "-", "–", " ", "  ", "\n", "word", "(", ")", "é"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
CITES_UNREAD = re.compile(r"\[(?:[1-3][,;-] ?)*(?:[4-9]|[1-9][0-9]{1,2})(?:[,;-] ?[1-9][0-9]{0,2})*\]")


def written(*deltas: str) -> tuple[str, CitationFilter]:
    filtered = CitationFilter(READ)
    text = "".join(filtered.add(delta) for delta in deltas)
    return text + filtered.end(), filtered


CASES = {
    "a passage that was read": ("Ten seconds [2].", "Ten seconds [2].", ["b"], 0),
    "in the order of the text, once each": ("x [3][1] y [3].", "x [3][1] y [3].", ["c", "a"], 0),
    "a passage that was not read": ("Ten [4] seconds [9].", "Ten seconds.", [], 2),
    "one after another": ("Ten [1][4][2] s", "Ten [1][2] s", ["a", "b"], 1),
    "at the beginning of the text": ("[4] Ten.", "Ten.", [], 1),
    "at the beginning of a line": ("Ten.\n[4] Nine.", "Ten.\nNine.", [], 1),
    "some at the beginning": ("[4] [5] [6] Ten.", "Ten.", [], 3),
    "alone": ("[4]", "", [], 1),
    "at the end": ("Ten [4]", "Ten", [], 1),
    "a list": ("x [1, 2]", "x [1, 2]", ["a", "b"], 0),
    "a list as it was written": ("x [1;2,3]", "x [1;2,3]", ["a", "b", "c"], 0),
    "a list of which some were read": ("x [1,9, 3]", "x [1, 3]", ["a", "c"], 1),
    "a list of which none was read": ("x [8, 9] y", "x y", [], 2),
    "a range": ("x [1-3]", "x [1-3]", ["a", "b", "c"], 0),
    "a range with a dash": ("x [1–2]", "x [1–2]", ["a", "b"], 0),
    "a range beyond what was read": ("x [2-4] y", "x y", [], 1),
    "a range backwards": ("x [3-1] y", "x y", [], 1),
    "wide brackets": ("x【1】y【9】z", "x【1】yz", ["a"], 1),
    "letters": ("x [a] [^1]", "x [a] [^1]", [], 0),
    "a year": ("x [2024] [1, 2024]", "x [2024] [1, 2024]", [], 0),
    "zero": ("row[0] in [0, 1] is [0-9]", "row[0] in [0, 1] is [0-9]", [], 0),
    "a leading zero": ("x [01]", "x [01]", [], 0),
    "an element of code": ("row[1] row[7]", "row[1] row", ["a"], 1),
    "the text of a link": ("[1](http://x)", "[1](http://x)", ["a"], 0),
    "a bracket that never closes": ("x [1", "x [1", [], 0),
    "brackets that do not match": ("x [9】", "x [9】", [], 0),
    "a citation in a citation": ("x [9[9]9] [[9]9] [1,[9] 9]", "x [9[]9] [[]9] [1,[] 9]", [], 3),
    "two spaces": ("x  [9] y", "x  y", [], 1),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected", "cited", "num_removed"), CASES.values(), ids=CASES.keys())
def test_a_citation_stays_where_its_passage_was_read(
    text: str, expected: str, cited: list[str], num_removed: int
) -> None:
    for deltas in ([text], list(text)):
        given_text, filtered = written(*deltas)
        assert given_text == expected
        assert filtered.citations.passage_ids == tuple(cited)
        assert filtered.citations.num_removed == num_removed


@given(TEXTS, st.lists(st.integers(0, 100), max_size=10))
def test_how_a_text_is_cut_into_deltas_changes_nothing(text: str, cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(text)]
    whole, ours = written(text)
    pieces, theirs = written(*(text[start:end] for start, end in pairwise(at)))
    assert pieces == whole
    assert theirs.citations == ours.citations


@given(TEXTS)
def test_no_citation_is_left_that_names_what_was_not_read(text: str) -> None:
    given_text, _ = written(*text)
    assert not CITES_UNREAD.search(given_text)
    again, filtered = written(given_text)
    assert again == given_text
    assert filtered.citations.num_removed == 0


@given(TEXTS)
def test_what_was_given_is_never_taken_back(text: str) -> None:
    filtered, whole = CitationFilter(READ), written(text)[0]
    given_text = ""
    for character in text:
        given_text += filtered.add(character)
        assert whole.startswith(given_text)


def test_text_that_is_no_citation_does_not_wait() -> None:
    filtered = CitationFilter(READ)
    assert filtered.add("word") == "word"
    assert filtered.add(" [a") == " [a"
    assert filtered.add(" [1") == ""
    assert filtered.add("]") == " [1]"


def test_a_long_list_is_read_in_time_that_grows_with_it() -> None:
    text = "[" + "1, " * 20_000 + "x" + "[" * 20_000
    assert written(text)[0] == text
