"""A judged question set in the BEIR layout: corpus.jsonl, queries.jsonl, qrels/test.tsv.

Thakur et al., "BEIR: A Heterogenous Benchmark for Zero-shot Evaluation of Information Retrieval Models", 2021. Beyond
it a query's `metadata` may hold `answers` (strings), `unanswerable` (true) and `kind` (a string).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.evaluation.failure import EvaluationFailed, Malformed
from cli.evaluation.lines import Fields, read_fields, read_rows
from trivium.v1 import indexer_pb2

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"
QRELS_HEADER = ["query-id", "corpus-id", "score"]
SHOWN_IDS = 3
"""How many ids a warning names."""


@dataclass(frozen=True)
class Question:
    """What is asked, and what is known of it."""

    question_id: str
    text: str
    gain_by_document_id: Mapping[str, int]
    """The judgements of qrels; a gain above 0 is relevant. Documents that nobody judged are missing."""
    answers: tuple[str, ...] = ()
    """Gold answers, each right by itself."""
    is_unanswerable: bool = False
    kind: str = ""

    @property
    def is_ranked(self) -> bool:
        """It counts in the measures of rankings: some document is relevant."""
        return any(gain > 0 for gain in self.gain_by_document_id.values())


@dataclass(frozen=True)
class QuestionSet:
    """A corpus and the questions that are asked of it."""

    path: Path
    questions: Sequence[Question]
    num_documents: int
    """Lines of the corpus."""
    num_empty_documents: int
    """Those that hold neither text nor title. No index can find them."""
    sha256_by_file: Mapping[str, str]
    warnings: Sequence[str]

    @property
    def name(self) -> str:
        """The folder's."""
        return self.path.resolve().name

    def documents(self) -> Iterator[indexer_pb2.Document]:
        """Those that can be indexed, read again from the corpus: it need not fit in memory."""
        return (document for document in read_documents(self.path / CORPUS) if document.sections)


def read_question_set(path: Path) -> QuestionSet:
    """The set in a folder. Raises EvaluationFailed, and Malformed for the first line that is wrong.

    A judgement of a query that is not there is left out; one of a document that is not there stays and counts against
    every ranking, as trec_eval has it. Both are in the warnings.
    """
    files = [path / name for name in (CORPUS, QUERIES, QRELS)]
    for file in files:
        if not file.is_file():
            raise EvaluationFailed(f"{file}: no such file; {path} must hold {CORPUS}, {QUERIES} and {QRELS}")
    is_empty_by_id = {document.document_id: not document.sections for document in read_documents(files[0])}
    gains_by_query_id = _read_qrels(files[2])
    questions = list(_read_questions(files[1], gains_by_query_id))
    num_empty = sum(is_empty_by_id.values())
    warnings = [*_strangers(questions, gains_by_query_id, is_empty_by_id), *_empty_documents(num_empty)]
    if not any(question.is_ranked or question.answers or question.is_unanswerable for question in questions):
        raise EvaluationFailed(f"{path}: no query has a relevant document, answers, or is marked unanswerable")
    return QuestionSet(
        path=path,
        questions=questions,
        num_documents=len(is_empty_by_id),
        num_empty_documents=num_empty,
        sha256_by_file={name: _sha256(file) for name, file in zip((CORPUS, QUERIES, QRELS), files, strict=True)},
        warnings=warnings,
    )


def read_documents(path: Path) -> Iterator[indexer_pb2.Document]:
    """Every document of a corpus; one with nothing to index has no section. Raises Malformed."""
    for fields in read_fields(path):
        document = indexer_pb2.Document(document_id=fields.new_id("_id"), title=fields.text("title", default=""))
        text = fields.text("text")
        # A title alone is text: a document must hold some.
        text = text if text.strip() else document.title
        if text.strip():
            document.sections.add(text=text)
        yield document


def _read_questions(path: Path, gains_by_query_id: Mapping[str, Mapping[str, int]]) -> Iterator[Question]:
    for fields in read_fields(path):
        question_id, text, metadata = fields.new_id("_id"), fields.text("text"), fields.object("metadata")
        if not text.strip():
            raise fields.malformed("text", "must not be empty")
        question = Question(
            question_id=question_id,
            text=text,
            gain_by_document_id=gains_by_query_id.get(question_id, {}),
            answers=metadata.texts("answers"),
            is_unanswerable=metadata.flag("unanswerable"),
            kind=metadata.text("kind", default=""),
        )
        _require_consistent(question, fields)
        yield question


def _require_consistent(question: Question, fields: Fields) -> None:
    if question.is_unanswerable and question.answers:
        raise fields.malformed("metadata.unanswerable", "true, and yet there are metadata.answers")
    if question.is_unanswerable and question.is_ranked:
        raise fields.malformed("metadata.unanswerable", f"true, and yet {QRELS} names a relevant document")


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    gains_by_query_id: dict[str, dict[str, int]] = {}
    for number, (query_id, document_id, score) in read_rows(path, QRELS_HEADER):
        try:
            gain = int(score)
        except ValueError:
            raise Malformed(str(path), number, "score", f"must be an integer, got {score!r}") from None
        gains = gains_by_query_id.setdefault(query_id, {})
        if gains.setdefault(document_id, gain) != gain:
            raise Malformed(str(path), number, "score", f"{gain}, but an earlier line says {gains[document_id]}")
    return gains_by_query_id


def _strangers(
    questions: Sequence[Question],
    gains_by_query_id: Mapping[str, Mapping[str, int]],
    document_ids: Mapping[str, bool],
) -> Iterator[str]:
    """Warnings about judgements of what is not there."""
    queries = sorted(gains_by_query_id.keys() - {question.question_id for question in questions})
    if queries:
        yield f"{QRELS} judges {len(queries):,} queries that {QUERIES} lacks; they are left out: {_some(queries)}"
    judged = {document_id for question in questions for document_id in question.gain_by_document_id}
    documents = sorted(judged - document_ids.keys())
    if documents:
        yield (
            f"{QRELS} judges {len(documents):,} documents that {CORPUS} lacks; "
            f"where they are relevant they count as not found: {_some(documents)}"
        )


def _empty_documents(count: int) -> Iterator[str]:
    if count:
        yield f"{CORPUS} holds {count:,} documents with neither text nor title; no ranking can find them"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN_IDS]) + (" …" if len(ids) > SHOWN_IDS else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
