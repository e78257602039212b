"""The set in BEIR's layout, which `trivium eval` reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tests.evaluation.documentation.docstrings import docstring_documents
from tests.evaluation.documentation.document import Corpus, Document
from tests.evaluation.documentation.pages import page_documents
from tests.evaluation.documentation.questions import Question, read_questions, unanswered


class AnswersVanished(Exception):
    """A page changed and no longer answers a question: mend the question, or the page."""


@dataclass(frozen=True)
class Written:
    num_documents: int
    num_answerable: int
    num_unanswerable: int
    left_out: list[str]
    """One for each question that this version of Python does not answer: what is missing."""

    def __str__(self) -> str:
        counts = f"{self.num_documents} documents, {self.num_answerable} answerable and {self.num_unanswerable} not"
        return "\n".join([counts, *(f"left out: {one}" for one in self.left_out)])


def read_documents(corpora: Collection[Corpus]) -> list[Document]:
    return [document for document in chain(page_documents(), docstring_documents()) if document.corpus in corpora]


def write_set(folder: Path, corpora: Collection[Corpus]) -> Written:
    """Writes corpus.jsonl, queries.jsonl and qrels/test.tsv over these corpora in one.

    Questions that the running Python's docstrings do not answer are left out. Raises AnswersVanished, which names
    every question that the project's pages do not answer.
    """
    documents = read_documents(corpora)
    questions, left_out = _answered([one for one in read_questions() if one.corpus in {None, *corpora}], documents)
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "corpus.jsonl", map(_document_record, documents))
    _write_lines(folder / "queries.jsonl", map(_query_record, questions))
    rows = [f"{one.id}\t{name}\t{grade}\n" for one in questions for name, grade in one.grade_by_document_id.items()]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    num_answerable = sum(question.is_answerable for question in questions)
    return Written(len(documents), num_answerable, len(questions) - num_answerable, left_out)


def _answered(questions: list[Question], documents: list[Document]) -> tuple[list[Question], list[str]]:
    """The questions that the documents answer, or that nothing answers, and what the others miss."""
    text_by_document_id = {document.id: document.text for document in documents}
    missing_by_id = {question.id: "; ".join(unanswered(question, text_by_document_id)) for question in questions}
    vanished = [missing_by_id[question.id] for question in questions if question.corpus == "documentation"]
    if any(vanished):
        raise AnswersVanished("\n".join(filter(None, vanished)))
    complete = [question for question in questions if not missing_by_id[question.id]]
    return complete, list(filter(None, missing_by_id.values()))


def _document_record(document: Document) -> dict[str, Any]:
    return {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": {"corpus": document.corpus},
    }


def _query_record(question: Question) -> dict[str, Any]:
    metadata: dict[str, Any] = {"corpus": question.corpus, "kind": question.kind}
    if question.is_answerable:
        metadata["answers"] = question.answers
    else:
        metadata["unanswerable"] = True
    return {"_id": question.id, "text": question.text, "metadata": metadata}


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
