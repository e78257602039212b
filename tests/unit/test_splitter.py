"""Passages are exact slices, bounded in tokens, and together hold the whole document."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.indexer.splitter import MAX_CHARACTERS_PER_TOKEN, Document, Section, Splitter
from services.retriever.passage import Passage

MAX_TOKENS = 16


def count_words(text: str) -> int:
    """Words and marks, as a word-piece tokenizer sees them; long words are several tokens."""
    return sum(1 + len(word) // 12 for word in re.findall(r"\w+|[^\w\s]", text))


def document(*sections: Section, title: str = "") -> Document:
    return Document("doc", title, "file:///doc", sections, "hash")


def section(text: str, start: int = 0, heading_path: tuple[str, ...] = (), uri: str = "") -> Section:
    return Section(heading_path, text, start, start + len(text), None, uri)


def split(text: str, max_tokens: int = MAX_TOKENS) -> list[str]:
    passages = Splitter(count_words, max_tokens).split(document(section(text)))
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
    splitter = Splitter(count_words, max_tokens)
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
    passages = Splitter(len, 20).split(document(section("".join(sentences))))
    assert [passage.text for passage in passages] == [sentences[0] + sentences[1], sentences[2]]


def test_a_long_sentence_is_cut_at_spaces() -> None:
    sentence = " ".join(f"word{number}" for number in range(50))
    passages = split(sentence)
    assert " ".join(passages) == sentence
    assert len(passages) == 4


def test_a_word_longer_than_the_bound_is_cut_hard() -> None:
    word = "x" * 1_000
    passages = Splitter(len, 100).split(document(section(word)))
    assert "".join(passage.text for passage in passages) == word
    assert all(len(passage.text) <= 100 for passage in passages)


def test_a_word_that_is_one_unknown_token_is_bounded_in_characters() -> None:
    passages = Splitter(lambda text: len(text.split()), 16).split(document(section("z" * 10_000)))
    assert max(len(passage.text) for passage in passages) <= 16 * MAX_CHARACTERS_PER_TOKEN


def test_passages_never_cross_sections() -> None:
    passages = Splitter(count_words, 100).split(
        document(section("first", 0, ("One",)), section("second", 5, ("One", "Two"), "file:///doc#two"), title="T")
    )
    assert passages == [
        Passage("doc#0", "doc", "T", ("One",), "first", "file:///doc", None, 0, 5),
        Passage("doc#1", "doc", "T", ("One", "Two"), "second", "file:///doc#two", None, 5, 11),
    ]


def test_title_and_headings_count_against_the_bound() -> None:
    text = " ".join(["word"] * 16)
    bare = Splitter(count_words, 16).split(document(section(text)))
    headed = Splitter(count_words, 16).split(document(section(text, 0, ("A heading",)), title="Some title"))
    assert [count_words(passage.text) for passage in bare] == [16]
    assert all(count_words(passage.indexed_text) <= 17 for passage in headed)
    assert len(headed) == 2


def test_parts_that_are_more_tokens_together_are_not_joined_beyond_the_bound() -> None:
    def count(text: str) -> int:
        return len(text.split()) + text.count("\n\n") * 5

    passages = Splitter(count, 10).split(document(section("a b c\n\nd e f\n\ng h i")))
    assert [passage.text for passage in passages] == ["a b c", "d e f", "g h i"]


@pytest.mark.parametrize("text", [" ", "\n\n\t ", "\u00a0"], ids=["space", "lines", "no-break space"])
def test_white_space_makes_no_passage(text: str) -> None:
    assert split(text) == []


def test_the_bound_is_part_of_the_fingerprint() -> None:
    assert Splitter(len, 10).fingerprint != Splitter(len, 11).fingerprint
