"""Cranfield's own files in the BEIR layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.evaluation.question_set import read_question_set
from tools.cranfield import SOURCE, convert


def test_fields_positions_and_gains_are_converted(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    document = ".I {}\n.T\nheron\nflight .\n.A\nowl,a.\n.B\n1958\n.W\nheron\nflight .\n  it\nflies .\n"
    (source / "cran.all.1400").write_text(document.format(1) + document.format(2) + ".I 3\n.T\n.A\n.B\n.W\n")
    (source / "cran.qry").write_text(".I 001\n.W\nwhat flies\nhere .\n.I 004\n.W\nwho .\n")
    (source / "cranqrel").write_text("1 1 1 \n1 2 4\n2 1 -1\n2 2 5\n2 3 2\n")
    convert(source, tmp_path / "set")
    questions = read_question_set(tmp_path / "set")
    first, second = questions.questions
    assert (first.question_id, first.text, first.gain_by_document_id) == ("1", "what flies here .", {"1": 4, "2": 1})
    assert (second.question_id, second.gain_by_document_id) == ("2", {"1": 0, "2": 0, "3": 3})
    assert (questions.num_documents, questions.num_empty_documents) == (3, 1)
    heron = next(questions.documents())
    assert (heron.document_id, heron.title, heron.sections[0].text) == ("1", "heron flight .", "it flies .")


@pytest.mark.skipif(not SOURCE.is_dir(), reason="Cranfield is not here")
def test_the_whole_collection_is_converted(tmp_path: Path) -> None:
    convert(SOURCE, tmp_path)
    questions = read_question_set(tmp_path)
    assert (questions.num_documents, len(questions.questions)) == (1_400, 225)
    assert sum(len(question.gain_by_document_id) for question in questions.questions) == 1_837
    assert all(question.is_ranked for question in questions.questions)
