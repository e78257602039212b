"""The questions, and whether the documents still answer them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.evaluation.documentation.document import Corpus

PATH = Path(__file__).with_name("questions.jsonl")
STATES_THE_ANSWER = 2
"""Grade of a document that states the answer. 1 is one that helps and does not state it."""


@dataclass(frozen=True)
class Question:
    id: str
    text: str
    corpus: Corpus | None
    """Where it is answered, or looks as if it were. None for a question about something else altogether."""
    kind: str
    answers: tuple[str, ...]
    """Each a slice of a document that states the answer, apart from white space. Empty where nothing answers."""
    grade_by_document_id: Mapping[str, int]

    @property
    def is_answerable(self) -> bool:
        return bool(self.grade_by_document_id)


def read_questions() -> list[Question]:
    return [_question(json.loads(line)) for line in PATH.read_text().splitlines()]


def _question(record: dict[str, object]) -> Question:
    metadata = record["metadata"]
    grades = record["documents"]
    assert isinstance(metadata, dict)
    assert isinstance(grades, dict)
    assert bool(grades) != bool(metadata.get("unanswerable")), f"{record['_id']}: answerable or not?"
    answers = tuple(metadata.get("answers", ()))
    return Question(str(record["_id"]), str(record["text"]), metadata["corpus"], metadata["kind"], answers, grades)


def unanswered(question: Question, text_by_document_id: Mapping[str, str]) -> Iterable[str]:
    """What is missing in the documents for this question, each in a sentence. Nothing where all is there."""
    texts = {name: squeezed(text_by_document_id.get(name, "")) for name in question.grade_by_document_id}
    answers = [squeezed(answer) for answer in question.answers]
    for name, text in texts.items():
        if not text:
            yield f"{question.id}: there is no document {name}"
        elif question.grade_by_document_id[name] >= STATES_THE_ANSWER and not any(one in text for one in answers):
            yield f"{question.id}: no answer is in {name}"
    for answer in answers:
        if not any(answer in text for text in texts.values()):
            yield f"{question.id}: no document says {answer!r}"


def squeezed(text: str) -> str:
    """The text with every stretch of white space as one space."""
    return " ".join(text.split())
