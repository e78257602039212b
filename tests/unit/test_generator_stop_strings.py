"""A stop string ends the text where it is complete, and no part of one is ever shown."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.generator.text.stop_strings import StopStrings

PIECES = st.lists(st.text(alphabet="ab ", max_size=5), max_size=12)
STRINGS = st.lists(st.text(alphabet="ab ", min_size=1, max_size=5), max_size=4)
NUM_FREE = st.integers(0, 6)


def expected(pieces: Sequence[str], strings: Sequence[str], num_free: int) -> tuple[str, str | None]:
    """The text and what ended it, by looking at every end in the whole text. The first pieces end nothing."""
    text = "".join(pieces)
    for end in range(len("".join(pieces[:num_free])) + 1, len(text) + 1):
        complete = [string for string in strings if text[:end].endswith(string)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def read(pieces: Sequence[str], strings: Sequence[str], num_free: int = 0) -> tuple[list[str], StopStrings]:
    """What comes out after each piece, and after the last what was held back."""
    stop, deltas = StopStrings(strings), list[str]()
    for number, piece in enumerate(pieces):
        deltas.append(stop.pass_over(piece) if number < num_free else stop.add(piece))
        if stop.found:
            return deltas, stop
    return [*deltas, stop.end()], stop


@given(PIECES, STRINGS, NUM_FREE)
@settings(max_examples=500, deadline=None)
@example(["xab", "c"], ["abcd", "bc"], 0)
@example(["a", "a", "a"], ["aa"], 2)
def test_any_split_of_any_text_ends_at_the_same_place(pieces: list[str], strings: list[str], num_free: int) -> None:
    deltas, stop = read(pieces, strings, num_free)
    text, found = expected(pieces, strings, num_free)
    assert stop.found == found
    # Every delta is part of the final text: nothing that belongs to the string was shown on the way.
    assert "".join(deltas) == text


@given(PIECES, STRINGS)
@settings(max_examples=300, deadline=None)
def test_only_the_beginning_of_a_string_waits(pieces: list[str], strings: list[str]) -> None:
    stop, shown = StopStrings(strings), ""
    for text in itertools.accumulate(pieces):
        shown += stop.add(text[len(shown) + len(stop._held) :])
        if stop.found:
            break
        held = text[len(shown) :]
        assert not held or any(string.startswith(held) and string != held for string in strings)


@pytest.mark.parametrize(
    ("pieces", "strings", "deltas"),
    [
        (["So", " be", " it.", "\n\nQ", "uestion: x"], ["\n\nQuestion:"], ["So", " be", " it.", "", ""]),
        (["one\n", "two"], ["\n\n"], ["one", "\ntwo", ""]),
        (["one\n"], ["\n\n"], ["one", "\n"]),
        (["xab", "c"], ["abcd", "bc"], ["x", "a"]),
        (["xabcd"], ["bc", "abc", "c"], ["x"]),
        (["a END b END"], ["END", "b"], ["a "]),
        (["Größe 🙂!"], ["🙂"], ["Größe "]),
        (["all of it"], [], ["all of it", ""]),
        (["END"], ["END"], [""]),
    ],
    ids=[
        "across tokens",
        "a beginning that goes on otherwise",
        "a beginning that ends",
        "the first to be complete",
        "of those complete at once the longest",
        "the first of many",
        "any character",
        "none",
        "nothing before it",
    ],
)
def test_what_is_shown_when(pieces: list[str], strings: list[str], deltas: list[str]) -> None:
    assert read(pieces, strings)[0] == deltas


def test_a_string_that_may_not_end_the_answer_is_text() -> None:
    deltas, stop = read(["END", " and ", "END"], ["END"], num_free=1)
    assert deltas == ["END", " and ", ""]
    assert stop.found == "END"
