"""Documents that nearly equal an earlier one are named."""

import random

import pytest

from cli.reading.near_duplicates import NearDuplicates

WORDS = [f"word{number}" for number in range(4_000)]


def text(seed: int, num_words: int = 1_000) -> list[str]:
    return random.Random(seed).choices(WORDS, k=num_words)


def with_changes(words: list[str], num_changes: int) -> str:
    changed = list(words)
    for place in random.Random(7).sample(range(len(words)), num_changes):
        changed[place] = f"other{place}"
    return " ".join(changed)


@pytest.mark.parametrize("num_changes", [0, 1, 5, 10])
def test_a_text_with_few_changes_is_a_near_duplicate(num_changes: int) -> None:
    near_duplicates = NearDuplicates()
    assert near_duplicates.seen("a.md", " ".join(text(1))) is None
    assert near_duplicates.seen("b.md", " ".join(text(2))) is None
    assert near_duplicates.seen("copy.md", with_changes(text(1), num_changes)) == "a.md"


@pytest.mark.parametrize("num_changes", [100, 1_000])
def test_a_text_with_many_changes_is_none(num_changes: int) -> None:
    near_duplicates = NearDuplicates()
    near_duplicates.seen("a.md", " ".join(text(1)))
    assert near_duplicates.seen("b.md", with_changes(text(1), num_changes)) is None


def test_layout_case_and_punctuation_do_not_count() -> None:
    near_duplicates = NearDuplicates()
    near_duplicates.seen("a.md", "The bees dance. They show the way, and the hive follows!")
    assert near_duplicates.seen("a.pdf", "the bees\ndance they show\tthe way and the HIVE follows") == "a.md"


def test_short_texts_must_be_equal() -> None:
    near_duplicates = NearDuplicates()
    assert near_duplicates.seen("a.md", "Not found") is None
    assert near_duplicates.seen("b.md", "Not here") is None
    assert near_duplicates.seen("c.md", "not found.") == "a.md"


def test_texts_without_words_resemble_nothing() -> None:
    near_duplicates = NearDuplicates()
    assert near_duplicates.seen("a.md", "--- ***") is None
    assert near_duplicates.seen("b.md", "--- ***") is None


def test_chinese_is_compared_letter_by_letter() -> None:
    near_duplicates = NearDuplicates()
    sentence = "".join(chr(0x4E00 + number) for number in random.Random(3).choices(range(2_000), k=400))
    near_duplicates.seen("a.md", sentence)
    assert near_duplicates.seen("b.md", sentence[:200] + "另" + sentence[201:]) == "a.md"


def test_nothing_is_taken_for_a_duplicate_among_many_different_texts() -> None:
    near_duplicates = NearDuplicates()
    found = [near_duplicates.seen(f"{seed}.md", " ".join(text(seed, 60))) for seed in range(2_000)]
    assert found == [None] * 2_000
    assert near_duplicates.seen("again.md", " ".join(text(1_234, 60))) == "1234.md"
