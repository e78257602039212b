"""Judged question sets: what is read, and what is refused, by file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.evaluation.failure import EvaluationFailed, Malformed
from cli.evaluation.question_set import read_question_set
from tests.unit.judged_sets import CORPUS, HEADER, QRELS, QUERIES, write_set


def test_documents_questions_and_judgements_are_read(tmp_path: Path) -> None:
    questions = read_question_set(write_set(tmp_path))
    assert [document.document_id for document in questions.documents()] == ["heron", "frog", "mill"]
    first = next(questions.documents())
    assert (first.title, first.sections[0].text) == ("Herons", "The heron stands in shallow water and eats frogs.")
    heron, mill, moon = questions.questions
    assert (heron.gain_by_document_id, heron.answers, heron.kind) == ({"heron": 2, "frog": 1}, ("frogs",), "animals")
    assert (mill.is_ranked, moon.is_ranked, moon.is_unanswerable) == (True, False, True)
    assert not questions.warnings


def test_metadata_title_and_a_byte_order_mark_are_optional(tmp_path: Path) -> None:
    write_set(
        tmp_path, [{"_id": "heron", "text": "It eats frogs."}], [{"_id": "q1", "text": "What?"}], ["q1\theron\t1"]
    )
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"\xef\xbb\xbf" + corpus.read_bytes() + b"\n")
    assert read_question_set(tmp_path).num_documents == 1


@pytest.mark.parametrize(
    ("file", "line", "text", "expected"),
    [
        ("corpus.jsonl", 2, '{"_id": "x"}', "line 2: text: is missing"),
        ("corpus.jsonl", 2, '{"_id": 7, "text": "x"}', "line 2: _id: must be a string, got a number"),
        ("corpus.jsonl", 2, '{"_id": "heron", "text": "x"}', "line 2: _id: 'heron' is also line 1's"),
        ("corpus.jsonl", 3, '{"_id": "x", "title": [], "text": "x"}', "line 3: title: must be a string, got a list"),
        ("corpus.jsonl", 3, '{"_id": "x"', "line 3: is not JSON"),
        ("corpus.jsonl", 3, '["x"]', "line 3: must be a JSON object, got a list"),
        ("corpus.jsonl", 1, '{"_id": "x", "text": "\\ud800"}', "line 1: text: holds half of a surrogate pair"),
        ("queries.jsonl", 1, '{"_id": "", "text": "x"}', "line 1: _id: must not be empty"),
        ("queries.jsonl", 1, '{"_id": "x", "text": " "}', "line 1: text: must not be empty"),
        ("queries.jsonl", 1, '{"_id": "x", "text": "x", "metadata": []}', "metadata: must be an object, got a list"),
        ("queries.jsonl", 1, '{"_id": "x", "text": "x", "metadata": {"answers": "a"}}', "metadata.answers: must be a"),
        ("queries.jsonl", 1, '{"_id": "x", "text": "x", "metadata": {"answers": [""]}}', "metadata.answers: must be a"),
        ("queries.jsonl", 1, '{"_id": "x", "text": "x", "metadata": {"unanswerable": 1}}', "metadata.unanswerable: mu"),
        (
            "queries.jsonl",
            1,
            '{"_id": "q1", "text": "x", "metadata": {"unanswerable": true}}',
            "metadata.unanswerable: true, and yet",
        ),
        ("qrels/test.tsv", 1, "q1\theron\t1", "line 1: the first line must be the header, query-id corpus-id score"),
        ("qrels/test.tsv", 2, "q1\t0\theron\t1", "line 2: must have 3 fields between tabs, got 4"),
        ("qrels/test.tsv", 2, "q1\theron\thigh", "line 2: score: must be an integer, got 'high'"),
        ("qrels/test.tsv", 3, "q1\theron\t1", "line 3: score: 1, but an earlier line says 2"),
        ("qrels/test.tsv", 3, "q1\t\t1", "line 3: corpus-id: must not be empty"),
    ],
)
def test_a_malformed_line_is_named_with_its_field(
    tmp_path: Path, file: str, line: int, text: str, expected: str
) -> None:
    path = write_set(tmp_path) / file
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(Malformed) as raised:
        read_question_set(tmp_path)
    assert str(path) in str(raised.value)
    assert expected in str(raised.value)
    assert raised.value.line == line


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = write_set(tmp_path) / "queries.jsonl"
    path.write_bytes(path.read_bytes() + b'{"_id": "\xff"}\n')
    with pytest.raises(Malformed, match=r"queries\.jsonl, line 4: is not UTF-8"):
        read_question_set(tmp_path)


def test_a_judgement_of_a_query_that_is_not_there_is_left_out_and_counted(tmp_path: Path) -> None:
    questions = read_question_set(write_set(tmp_path, qrels=[*QRELS, "q9\theron\t1", "q8\theron\t1"]))
    assert questions.warnings == ["qrels/test.tsv judges 2 queries that queries.jsonl lacks; they are left out: q8, q9"]
    assert {question.question_id for question in questions.questions} == {"q1", "q2", "q3"}


def test_a_judged_document_that_is_not_there_counts_as_not_found(tmp_path: Path) -> None:
    questions = read_question_set(write_set(tmp_path, qrels=[*QRELS, "q2\tgranary\t1"]))
    assert "judges 1 documents that corpus.jsonl lacks" in questions.warnings[0]
    assert questions.questions[1].gain_by_document_id == {"mill": 1, "granary": 1}


def test_a_document_without_text_is_its_title_and_one_without_either_is_counted(tmp_path: Path) -> None:
    corpus = [*CORPUS, {"_id": "owl", "title": "Owls", "text": ""}, {"_id": "void", "title": "", "text": " \n"}]
    questions = read_question_set(write_set(tmp_path, corpus=corpus))
    owl = list(questions.documents())[-1]
    assert (owl.document_id, owl.sections[0].text) == ("owl", "Owls")
    assert (questions.num_documents, questions.num_empty_documents) == (5, 1)
    assert questions.warnings == [
        "corpus.jsonl holds 1 documents with neither text nor title; no ranking can find them"
    ]


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (write_set(tmp_path) / missing).unlink()
    with pytest.raises(EvaluationFailed, match=missing):
        read_question_set(tmp_path)


def test_a_set_of_which_nothing_can_be_judged_is_refused(tmp_path: Path) -> None:
    queries = [{"_id": "q1", "text": "What does the heron eat?"}]
    with pytest.raises(EvaluationFailed, match="no query has a relevant document"):
        read_question_set(write_set(tmp_path, queries=queries, qrels=["q1\theron\t0"]))


def test_an_empty_qrels_file_is_refused_for_its_header(tmp_path: Path) -> None:
    (write_set(tmp_path, queries=QUERIES) / "qrels" / "test.tsv").write_text("")
    with pytest.raises(Malformed, match=HEADER.replace("\t", " ")):
        read_question_set(tmp_path)
