"""The sparse leg: BM25, and the passages themselves."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from services.retriever.analyzer import LANGUAGES, Analyzer
from services.retriever.manifest import UnreadableIndex
from services.retriever.passage import Passage
from services.retriever.sparse import SparseIndex, write
from tests.unit.collections_on_disk import file_size_limit


def passage(text: str, title: str = "", heading_path: tuple[str, ...] = ()) -> Passage:
    return Passage("id", "document", title, heading_path, text, "file:///document", None, 0, len(text))


def index_of(directory: Path, passages: list[Passage], analyzer: Analyzer | None = None) -> SparseIndex:
    analyzer = analyzer or Analyzer.of()
    assert write(directory, passages, analyzer) == len(passages)
    return SparseIndex(directory, analyzer)


def rows(index: SparseIndex, question: str) -> list[int]:
    return [one.row for one in index.search(question, 10)]


def test_the_passage_with_the_rarer_word_comes_first(tmp_path: Path) -> None:
    index = index_of(tmp_path, [passage("index writer"), passage("index pointer"), passage("nothing of it")])
    found = index.search("pointer of the index", 10)
    assert [one.row for one in found] == [1, 0]
    assert found[0].score > found[1].score > 0


@pytest.mark.parametrize(
    ("language", "text", "question"),
    [
        ("zh", "检索增强生成把检索和生成结合在一起。", "检索"),
        ("ja", "索引は一つのプロセスが書きます。", "索引"),
        ("ko", "색인은 하나의 프로세스가 씁니다.", "색인"),
    ],
)
def test_a_two_character_word_finds_its_document(tmp_path: Path, language: str, text: str, question: str) -> None:
    others = [passage("今天天气很好。"), passage("明日は雨です。"), passage("오늘은 비가 옵니다.")]
    index = index_of(tmp_path, [*others, passage(text)], Analyzer.of(language))
    assert rows(index, question) == [3]


def test_without_the_chinese_analyzer_the_same_word_finds_nothing(tmp_path: Path) -> None:
    assert rows(index_of(tmp_path, [passage("检索增强生成")]), "检索") == []


def test_title_and_headings_are_searched_with_the_passage(tmp_path: Path) -> None:
    index = index_of(tmp_path, [passage("Some text."), passage("Some text.", "Handbook", ("Drain",))])
    assert rows(index, "handbook") == [1]
    assert rows(index, "drain") == [1]


@pytest.mark.parametrize(
    "question",
    ['"pointer', "pointer*", "body:pointer", "NOT pointer", "pointer^9 AND (", "+pointer -index", "[pointer TO x}"],
)
def test_a_question_is_words_and_never_a_query_language(tmp_path: Path, question: str) -> None:
    index = index_of(tmp_path, [passage("the pointer"), passage("something else")])
    assert rows(index, question) == [0]


@pytest.mark.parametrize("question", ["*", "!!!", "the of and", "/.*/"], ids=["star", "marks", "stop words", "pattern"])
def test_a_question_without_terms_finds_nothing(tmp_path: Path, question: str) -> None:
    assert rows(index_of(tmp_path, [passage("the pointer")]), question) == []


def test_stemming_finds_other_forms_unless_switched_off(tmp_path: Path) -> None:
    for stemming in (True, False):
        directory = tmp_path / str(stemming)
        directory.mkdir()
        index = index_of(directory, [passage("Indexes are published.")], Analyzer.of(stemming=stemming))
        assert rows(index, "publishing") == ([0] if stemming else [])


def test_stop_words_are_found_only_when_they_are_kept(tmp_path: Path) -> None:
    for stop_words in (True, False):
        directory = tmp_path / str(stop_words)
        directory.mkdir()
        index = index_of(directory, [passage("to be or not to be")], Analyzer.of(stop_words=stop_words))
        assert rows(index, "to be") == ([] if stop_words else [0])


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_has_an_analyzer(language: str) -> None:
    assert Analyzer.of(language).build().analyze("12 34") != []


def test_equal_scores_are_ordered_by_row_also_where_the_list_is_cut(tmp_path: Path) -> None:
    index = index_of(tmp_path, [passage("pointer") for _ in range(20)])
    assert [one.row for one in index.search("pointer", 5)] == [0, 1, 2, 3, 4]


def test_passages_come_back_whole_and_in_the_order_asked_for(tmp_path: Path) -> None:
    kept = [
        Passage("a#0", "a", "T", ("One", "Two"), "text\n\n中文 🙂", "file:///a", 3, 7, 18),
        Passage("b#0", "b", "", (), "other", "", None, 0, 5),
    ]
    index = index_of(tmp_path, kept)
    assert index.passages([1, 0]) == [kept[1], kept[0]]
    assert index.passages([]) == []


def test_reading_leaves_the_directory_as_it_is(tmp_path: Path) -> None:
    directory = tmp_path / "sparse"
    directory.mkdir()
    write(directory, [passage("pointer")], Analyzer.of())
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    index = SparseIndex(directory, Analyzer.of())
    assert rows(index, "pointer") == [0]
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_an_open_index_keeps_nothing_in_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, temporary = tmp_path / "sparse", tmp_path / "temporary"
    directory.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    index = index_of(directory, [passage("pointer"), passage("log")])
    assert list(temporary.iterdir()) == []
    assert rows(index, "log") == [1]
    assert [one.text for one in index.passages([0, 1])] == ["pointer", "log"]


def test_files_that_tantivy_cannot_read_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [passage("pointer")], Analyzer.of())
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(UnreadableIndex, match=tmp_path.name):
        SparseIndex(tmp_path, Analyzer.of())


def test_a_disk_that_refuses_the_index_is_an_os_error_that_says_why(tmp_path: Path) -> None:
    many = [passage(os.urandom(300).hex()) for _ in range(300)]
    with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path, many, Analyzer.of())


def test_a_word_in_the_title_counts_more_than_one_in_the_text(tmp_path: Path) -> None:
    index = index_of(tmp_path, [passage("Water has a drain."), passage("Water has a pump.", "Drain")])
    assert rows(index, "drain") == [1, 0]


def test_words_that_only_ask_find_nothing_beside_others(tmp_path: Path) -> None:
    index = index_of(tmp_path, [passage("How and when, which and what."), passage("the pump")])
    assert rows(index, "How can I stop which pump, and when?") == [1]
    assert rows(index, "how") == [0]


def test_with_stop_words_kept_words_that_ask_are_searched_like_any_other(tmp_path: Path) -> None:
    index = index_of(tmp_path, [passage("How and when."), passage("the pump")], Analyzer.of(stop_words=False))
    assert rows(index, "how pump") == [1, 0]


WORDS = ["pump", "valve", "drain", "heron", "motor"]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> SparseIndex:
    """Texts of some of the words, in all orders and lengths."""
    random = np.random.default_rng(7)
    texts = [" ".join(random.choice(WORDS, size=random.integers(1, 30))) for _ in range(3_000)]
    return index_of(tmp_path_factory.mktemp("many"), [passage(text) for text in texts])


@pytest.mark.parametrize("limit", [1, 10, 100, 5_000])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("question", ["heron", "pump valve motor", "unheard"])
def test_of_the_rows_that_are_kept_the_best_are_found_with_their_own_scores(
    many: SparseIndex, question: str, share: float, limit: int
) -> None:
    kept = np.random.default_rng(3).random(many.num_passages) < share
    everything = many.search(question, many.num_passages)
    expected = [(one.row, one.score) for one in everything if kept[one.row]][:limit]
    found = many.search(question, limit, kept)
    assert [(one.row, one.score) for one in found] == expected
    assert [one.rank for one in found] == list(range(1, len(expected) + 1))


def test_rows_that_are_kept_and_match_worst_are_found_all_the_same(many: SparseIndex) -> None:
    everything = many.search("heron", many.num_passages)
    kept = np.zeros(many.num_passages, dtype=np.bool_)
    kept[[one.row for one in everything[len(everything) // 3 :]]] = True
    expected = [one.row for one in everything if kept[one.row]]
    for limit in (1, 10, 100):
        assert [one.row for one in many.search("heron", limit, kept)] == expected[:limit]
