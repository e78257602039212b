"""An evaluation from start to end: the corpus published, every question asked, all of it measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from cli.connection import open_channel
from cli.evaluation import calibration, statistics
from cli.evaluation.asking import NUM_CANDIDATES, RANKINGS, Asking, Wanted
from cli.evaluation.crowd import Asked, ask_all
from cli.evaluation.question_set import Question, QuestionSet
from cli.evaluation.scores import score, summarise
from cli.evaluation.site import Published, Site, publish
from cli.summary import Summary

FORMAT = 1
"""Of the JSON object."""
LIBRARIES = ("ir-measures", "pytrec-eval-terrier", "scipy", "numpy", "grpcio")


@dataclass(frozen=True)
class Settings:
    """How questions are asked."""

    num_candidates: int = NUM_CANDIDATES
    """Passages that are reranked."""
    concurrency: int = 4
    """Questions on their way at once."""
    timeout_s: float = 60.0
    """For one call."""
    language: str | None = None
    """Of the corpus."""
    wants_logits: bool = False
    """Ask for what a calibration is fitted on."""


@dataclass(frozen=True)
class Progress:
    """Who is told how it goes."""

    on_status: Callable[[str], None] = lambda text: None
    on_ingest: Callable[[Summary], None] = lambda summary: None
    on_asked: Callable[[int], None] = lambda count: None


@dataclass(frozen=True)
class Evaluation:
    """What was found."""

    report: dict[str, Any]
    """The JSON object."""
    evidence: list[calibration.Evidence]
    """For a calibration; empty unless it was wanted."""


def evaluate(site: Site, questions: QuestionSet, settings: Settings, progress: Progress) -> Evaluation:
    """Raises CallFailed and EvaluationFailed."""
    started_at = time.monotonic()
    progress.on_status("ingesting the corpus")
    published = publish(site, questions, settings.language, progress.on_ingest)
    ingested_at = time.monotonic()
    progress.on_status("asking")
    asked = _ask(site, published, questions, settings, progress)
    scores = score(questions.questions, asked.findings_by_question_id)
    kinds = sorted({one.kind for one in scores if one.kind})
    report = {
        "format": FORMAT,
        **summarise(scores),
        "by_kind": {kind: summarise([one for one in scores if one.kind == kind]) for kind in kinds},
        "failed": asked.reason_by_question_id,
        "warnings": list(questions.warnings),
        "set": _describe_set(questions),
        "settings": _describe_settings(site, settings, asked),
        "index": _describe_index(published),
        "models": _models(asked),
        "rig": _rig(),
        "seconds": {
            "ingest": round(ingested_at - started_at, 3),
            "ask": round(time.monotonic() - ingested_at, 3),
        },
        "questions": {one.question_id: one.to_dict() for one in scores},
    }
    evidence = _evidence(questions, asked) if settings.wants_logits else []
    return Evaluation(report, evidence)


def wanted_of(questions: QuestionSet, wants_logits: bool) -> dict[str, Wanted]:
    """What to find out about each question, by its id; those of which nothing can be judged are missing."""
    is_any_unanswerable = any(question.is_unanswerable for question in questions.questions)

    def wanted(question: Question) -> Wanted:
        is_judged = question.is_ranked or bool(question.answers) or question.is_unanswerable
        return Wanted(
            rankings=question.is_ranked,
            logits=wants_logits and is_judged,
            # To say how many answerable questions are refused, all of them are asked.
            answer=bool(question.answers) or (is_any_unanswerable and is_judged),
        )

    by_id = {question.question_id: wanted(question) for question in questions.questions}
    return {question_id: one for question_id, one in by_id.items() if one.rankings or one.logits or one.answer}


def _ask(site: Site, published: Published, questions: QuestionSet, settings: Settings, progress: Progress) -> Asked:
    wanted_by_id = wanted_of(questions, settings.wants_logits)
    with ExitStack() as stack:
        channels = {
            address: stack.enter_context(open_channel(address)) for address in {site.gateway, site.legs_gateway}
        }
        asking = Asking(site, channels, published, settings.num_candidates, settings.timeout_s)
        return ask_all(
            [question for question in questions.questions if question.question_id in wanted_by_id],
            lambda question: asking.ask(question, wanted_by_id[question.question_id]),
            settings.concurrency,
            progress.on_asked,
        )


def _evidence(questions: QuestionSet, asked: Asked) -> list[calibration.Evidence]:
    def of(question: Question) -> calibration.Evidence:
        is_known = question.is_ranked or question.is_unanswerable
        candidates = [
            (logit, question.gain_by_document_id.get(document_id, 0) > 0 if is_known else None)
            for logit, document_id in asked.findings_by_question_id[question.question_id].logits
        ]
        return calibration.Evidence(question.question_id, candidates, not question.is_unanswerable)

    return [of(question) for question in questions.questions if question.question_id in asked.findings_by_question_id]


def _describe_set(questions: QuestionSet) -> dict[str, Any]:
    return {
        "name": questions.name,
        "sha256": dict(questions.sha256_by_file),
        "num_documents": questions.num_documents,
        "num_empty_documents": questions.num_empty_documents,
        "num_questions": len(questions.questions),
        "num_unjudged_questions": len(questions.questions) - len(wanted_of(questions, True)),
    }


def _describe_settings(site: Site, settings: Settings, asked: Asked) -> dict[str, Any]:
    findings = asked.findings_by_question_id.values()
    return {
        "num_candidates": settings.num_candidates,
        "num_passages": {
            ranking: max((one.num_passages.get(ranking, 0) for one in findings), default=0) for ranking in RANKINGS
        },
        "num_short_questions": {
            ranking: sum(one.is_short.get(ranking, False) for one in findings) for ranking in RANKINGS
        },
        "is_calibrated": any(one.is_calibrated for one in findings),
        "language": settings.language or "en",
        "concurrency": settings.concurrency,
        "timeout_s": settings.timeout_s,
        "confidence": statistics.CONFIDENCE,
        "num_resamples": statistics.NUM_RESAMPLES,
        "environment": dict(site.environment),
    }


def _describe_index(published: Published) -> dict[str, Any]:
    return {
        "collection": published.collection,
        "index_version": published.index_version,
        "num_documents": published.num_documents,
        "num_passages": published.num_passages,
        "fingerprint": published.fingerprint,
    }


def _models(asked: Asked) -> dict[str, dict[str, str]]:
    models: dict[str, dict[str, str]] = {}
    for findings in asked.findings_by_question_id.values():
        models |= findings.model_by_stage
    return models


def _rig() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "num_cpus": os.cpu_count(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
