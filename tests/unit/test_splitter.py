"""Passages are exact slices, bounded in tokens, and together hold the whole document."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.indexer.splitter import MAX_CHARACTERS_PER_TOKEN, Document, Section, Splitter
from services.retriever.indexer.tokens import WINDOW
from services.retriever.passage import Passage

MAX_TOKENS = 16


def word_ends(text: str) -> list[int]:
    """Words and marks, as a word-piece tokenizer sees them; long words are several tokens."""
    return [match.end() for match in re.finditer(r"\w{1,12}|[^\w\s]", text)]


def character_ends(text: str) -> range:
    return range(1, len(text) + 1)


def count_words(text: str) -> int:
    return len(word_ends(text))


def document(*sections: Section, title: str = "") -> Document:
    return Document("doc", title, "file:///doc", sections, "hash")


def section(text: str, start: int = 0, heading_path: tuple[str, ...] = (), uri: str = "") -> Section:
    return Section(heading_path, text, start, start + len(text), None, uri)


def split(text: str, max_tokens: int = MAX_TOKENS) -> list[str]:
    passages = Splitter(word_ends, max_tokens).split(document(section(text)))
    return [passage.text for passage in passages]


words = st.text(alphabet="abcé中文🙂'-", min_size=1, max_size=12) | st.sampled_from(["x" * 60, "y" * 1_000])
marks = st.sampled_from([" ", "  ", ". ", "! ", "? ", "。", "\n", "\n\n", "\n \n\n", "\t", "\u00a0", "\u2029", ", "])
texts = st.lists(words | marks, min_size=1, max_size=120).map("".join)


@given(
    contents=st.lists(texts, min_size=1, max_size=4),
    title=st.sampled_from(["", "A title", "A title that is longer than all that a passage may hold " * 2]),
    max_tokens=st.integers(min_value=8, max_value=40),
)
def test_passages_are_slices_within_the_bound_that_hold_all_text(
    contents: list[str], title: str, max_tokens: int
) -> None:
    sections, start = [], 7
    for content in contents:
        sections.append(section(content, start, ("Heading",)))
        start += len(content)
    whole = " " * 7 + "".join(contents)
    splitter = Splitter(word_ends, max_tokens)
    passages = splitter.split(document(*sections, title=title))
    heading_tokens = count_words(passages[0].heading_line) if passages else 0
    covered: set[int] = set()
    for passage in passages:
        assert passage.text == whole[passage.start : passage.end]
        assert count_words(passage.text) <= max(max_tokens // 2, max_tokens - heading_tokens)
        assert len(passage.text) <= max_tokens * MAX_CHARACTERS_PER_TOKEN
        assert covered.isdisjoint(range(passage.start, passage.end))
        covered.update(range(passage.start, passage.end))
    assert all(position in covered for position, character in enumerate(whole) if not character.isspace())
    assert [passage.passage_id for passage in passages] == [f"doc#{number}" for number in range(len(passages))]


def test_small_paragraphs_are_merged_up_to_the_bound() -> None:
    paragraphs = [f"one two three {number}" for number in "abcdefgh"]
    assert split("\n\n".join(paragraphs)) == ["\n\n".join(paragraphs[:4]), "\n\n".join(paragraphs[4:])]


def test_a_paragraph_that_fits_is_not_torn_apart() -> None:
    first, second = "one two three four five six seven eight nine", "a b c d e f g h i j"
    assert split(f"{first}\n\n{second}") == [first, second]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    sentences = ["One two three four five six.", "Seven eight nine ten eleven twelve?", "And so on it goes now."]
    assert split(" ".join(sentences)) == [" ".join(sentences[:2]), sentences[2]]


def test_a_chinese_paragraph_is_cut_between_sentences() -> None:
    sentences = ["索引由一个进程写入。", "读者跟随指针。", "版本不可变。"]
    passages = Splitter(character_ends, 20).split(document(section("".join(sentences))))
    assert [passage.text for passage in passages] == [sentences[0] + sentences[1], sentences[2]]


def test_a_long_sentence_is_cut_at_spaces() -> None:
    sentence = " ".join(f"word{number}" for number in range(50))
    passages = split(sentence)
    assert " ".join(passages) == sentence
    assert len(passages) == 4


def test_a_word_longer_than_the_bound_is_cut_hard() -> None:
    word = "x" * 1_000
    passages = Splitter(character_ends, 100).split(document(section(word)))
    assert "".join(passage.text for passage in passages) == word
    assert all(len(passage.text) <= 100 for passage in passages)


def test_a_word_that_is_one_unknown_token_is_bounded_in_characters() -> None:
    def unknown_words(text: str) -> list[int]:
        return [match.end() for match in re.finditer(r"\S+", text)]

    passages = Splitter(unknown_words, 16).split(document(section("z" * 10_000)))
    assert max(len(passage.text) for passage in passages) <= 16 * MAX_CHARACTERS_PER_TOKEN


def test_passages_never_cross_sections() -> None:
    passages = Splitter(word_ends, 100).split(
        document(section("first", 0, ("One",)), section("second", 5, ("One", "Two"), "file:///doc#two"), title="T")
    )
    assert passages == [
        Passage("doc#0", "doc", "T", ("One",), "first", "file:///doc", None, 0, 5),
        Passage("doc#1", "doc", "T", ("One", "Two"), "second", "file:///doc#two", None, 5, 11),
    ]


def test_title_and_headings_count_against_the_bound() -> None:
    text = " ".join(["word"] * 16)
    bare = Splitter(word_ends, 16).split(document(section(text)))
    headed = Splitter(word_ends, 16).split(document(section(text, 0, ("A heading",)), title="Some title"))
    assert [count_words(passage.text) for passage in bare] == [16]
    assert all(count_words(passage.indexed_text) <= 17 for passage in headed)
    assert len(headed) == 2


def test_parts_that_are_more_tokens_together_are_not_joined_beyond_the_bound() -> None:
    def with_dear_paragraphs(text: str) -> list[int]:
        return sorted(word_ends(text) + 5 * [match.end() for match in re.finditer("\n\n", text)])

    passages = Splitter(with_dear_paragraphs, 10).split(document(section("a b c\n\nd e f\n\ng h i")))
    assert [passage.text for passage in passages] == ["a b c", "d e f", "g h i"]


def test_a_passage_that_is_more_tokens_than_its_part_of_the_section_is_made_shorter() -> None:
    def dear_beginning(text: str) -> list[int]:
        """Whatever a text begins with is five tokens."""
        return [end for end in word_ends(text)[:1] for _ in range(4)] + word_ends(text)

    text = " ".join(f"w{number}" for number in range(40)) + "\n\n" + "a. b. c. d. e. f. g. h."
    passages = Splitter(dear_beginning, 10).split(document(section(text)))
    assert " ".join(passage.text for passage in passages).split() == text.split()
    assert max(len(dear_beginning(passage.text)) for passage in passages) <= 10


def test_a_table_is_cut_between_rows() -> None:
    rows = ["| name | what it is |", "|---|---|", *(f"| row {n} | One. Two words. |" for n in range(6))]
    passages = split("\n".join(rows), 24)
    assert "\n".join(passages) == "\n".join(rows)
    assert all(passage.startswith("|") and passage.endswith("|") for passage in passages)
    assert len(passages) > 2


def test_a_table_row_that_is_too_long_is_cut_between_sentences() -> None:
    row = "| One two three four. Five six seven eight. Nine ten eleven twelve. |"
    assert split(f"| a |\n{row}\n| b |", 12) == [
        "| a |\n| One two three four.",
        "Five six seven eight. Nine ten eleven twelve. |",
        "| b |",
    ]


def test_a_section_is_tokenised_once_and_each_of_its_passages_once() -> None:
    texts: list[str] = []

    def recording(text: str) -> list[int]:
        texts.append(text)
        return word_ends(text)

    passages = Splitter(recording, 100).split(document(section("ab\n\n" * 5_000)))
    assert len(passages) == 50
    assert len(texts) <= 1 + 1 + len(passages)


def test_a_section_longer_than_a_window_is_cut_as_if_it_were_one() -> None:
    paragraph = "One two three four five. " * 10
    text = "\n\n".join([paragraph.strip()] * (3 * WINDOW // len(paragraph)))
    assert set(split(text, 60)) == {paragraph.strip()}


@pytest.mark.parametrize("text", [" ", "\n\n\t ", "\u00a0"], ids=["space", "lines", "no-break space"])
def test_white_space_makes_no_passage(text: str) -> None:
    assert split(text) == []


def test_the_bound_is_part_of_the_fingerprint() -> None:
    assert Splitter(character_ends, 10).fingerprint != Splitter(character_ends, 11).fingerprint
