"""The questions over the project's pages and Python's docstrings are answered there, or nowhere."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.evaluation.documentation import pages
from tests.evaluation.documentation.beir import AnswersVanished, Written, read_documents, write_set
from tests.evaluation.documentation.document import Corpus, Document
from tests.evaluation.documentation.questions import Question, read_questions, squeezed, unanswered

CORPORA = get_args(Corpus)
ANSWERABLE_KINDS = {"plain", "other_words", "keywords", "misspelt"}
UNANSWERABLE_KINDS = {"elsewhere", "neighbouring", "near_miss"}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return read_documents(CORPORA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("set")


@pytest.fixture(scope="module")
def written(folder: Path) -> Written:
    return write_set(folder, CORPORA)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "qrels/test.tsv").read_text().splitlines()]


def test_there_are_enough_questions_of_every_kind() -> None:
    questions = read_questions()
    answerable = [question for question in questions if question.is_answerable]
    assert len(answerable) >= 200
    assert {question.kind for question in answerable} == ANSWERABLE_KINDS
    num_of_kind = Counter(question.kind for question in questions if not question.is_answerable)
    assert num_of_kind.keys() == UNANSWERABLE_KINDS
    assert num_of_kind.total() >= 80
    assert min(num_of_kind.values()) >= 20


def test_no_question_and_no_document_is_there_twice(documents: list[Document]) -> None:
    questions = read_questions()
    for values in (
        [question.id for question in questions],
        [squeezed(question.text).casefold() for question in questions],
        [document.id for document in documents],
        [document.text for document in documents],
    ):
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_the_projects_pages_still_answer_their_questions(documents: list[Document]) -> None:
    texts = {document.id: document.text for document in documents}
    missing = [
        one
        for question in read_questions()
        if question.corpus == "documentation"
        for one in unanswered(question, texts)
    ]
    assert missing == []


def test_few_questions_are_left_out_on_this_python(written: Written) -> None:
    assert len(written.left_out) <= 5, written


def test_an_answer_is_no_copy_of_its_question() -> None:
    for question in read_questions():
        assert not any(squeezed(answer).casefold() in question.text.casefold() for answer in question.answers), question


def test_the_folder_has_the_layout_of_beir(folder: Path, written: Written) -> None:
    document_ids = {record["_id"] for record in records(folder / "corpus.jsonl")}
    queries = {record["_id"]: record["metadata"] for record in records(folder / "queries.jsonl")}
    header, *judgements = rows(folder)
    assert header == ["query-id", "corpus-id", "score"]
    assert {document_id for _, document_id, _ in judgements} <= document_ids
    assert {grade for _, _, grade in judgements} <= {"1", "2"}
    judged = {question_id for question_id, _, _ in judgements}
    assert judged == {name for name, metadata in queries.items() if not metadata.get("unanswerable")}
    assert all(queries[name]["answers"] for name in judged)
    assert len(document_ids) == written.num_documents
    assert len(queries) == written.num_answerable + written.num_unanswerable


@pytest.mark.parametrize("corpus", CORPORA)
def test_one_corpus_alone_has_its_own_questions_only(tmp_path: Path, corpus: Corpus) -> None:
    write_set(tmp_path, [corpus])
    assert {record["metadata"]["corpus"] for record in records(tmp_path / "corpus.jsonl")} == {corpus}
    assert {record["metadata"]["corpus"] for record in records(tmp_path / "queries.jsonl")} == {corpus, None}


def test_a_page_that_loses_an_answer_is_an_error_that_names_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PATHS", [path for path in pages.PATHS if path != "docs/operations.md"])
    with pytest.raises(AnswersVanished, match=r"page-\d+: there is no document docs/operations.md#errors"):
        write_set(tmp_path, CORPORA)


def test_a_document_that_helps_need_not_state_the_answer() -> None:
    question = Question("q", "?", "documentation", "plain", ("forty  two",), {"a": 2, "b": 1})
    assert list(unanswered(question, {"a": "It is forty\ntwo.", "b": "See a."})) == []
    assert list(unanswered(question, {"a": "See b.", "b": "It is forty two."})) == ["q: no answer is in a"]
