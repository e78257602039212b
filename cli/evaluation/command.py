"""`trivium eval`: from the options to an evaluation, with its progress shown."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from cli.evaluation import calibration, comparison, report
from cli.evaluation import evaluation as evaluations
from cli.evaluation.evaluation import Evaluation, Settings, evaluate
from cli.evaluation.failure import EvaluationFailed
from cli.evaluation.model import find_reranker_model, require_asked
from cli.evaluation.question_set import QuestionSet, read_question_set
from cli.evaluation.site import MAX_PASSAGES_ELSEWHERE, Site, own_processes
from cli.summary import Summary


@dataclass(frozen=True)
class Place:
    """Where to ask. Without addresses processes of our own are started."""

    gateway: str = ""
    indexer: str = ""
    data: Path | None = None
    """Keep the collections here."""
    device: str = "auto"
    max_passages: int = MAX_PASSAGES_ELSEWHERE
    """Of the gateway at the address: its `max_top_k`."""


@dataclass(frozen=True)
class CalibrationOrder:
    """What is to be fitted, for which reranker, and where it goes."""

    path: Path
    max_false_refusals: float = 0.05
    engine: str = ""
    model: str = ""
    """Both by default those of the environment (`RERANKER_…`)."""


def run(
    path: Path, place: Place, settings: Settings, order: CalibrationOrder | None, console: Console, as_json: bool
) -> None:
    """Evaluate, print, and calibrate where that is wanted. Raises EvaluationFailed, CallFailed and ProcessFailed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    questions = read_question_set(path)
    if order:
        _require_writable(order.path)
        model = find_reranker_model(order.engine, order.model)
        settings = replace(settings, wants_logits=True)
    with _progress_shown(questions, settings) as progress, _site(place, progress) as site:
        evaluation = evaluate(site, questions, settings, progress)
    printed: dict[str, Any] = evaluation.report
    if order:
        require_asked(model, printed["models"].get("reranker", {}).get("revision", ""))
        fit = _calibrate(evaluation, questions, order)
        calibration.write(order.path, fit, model.engine, model.sha256, _made_with(questions, fit, order))
        printed = printed | {"calibration": fit.to_dict()}
    if as_json:
        print(json.dumps(printed, ensure_ascii=False))
    else:
        report.show(printed, console)


def compare(ours: Path, theirs: Path, console: Console, as_json: bool) -> None:
    """Print how two evaluations differ. Raises EvaluationFailed."""
    found = comparison.compare_files(ours, theirs)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        comparison.show(found, console)


@contextmanager
def _site(place: Place, progress: evaluations.Progress) -> Iterator[Site]:
    if not (place.gateway or place.indexer):
        with own_processes(place.data, place.device, progress.on_status) as site:
            yield site
    elif place.gateway and place.indexer:
        yield Site(place.gateway, place.gateway, place.indexer, place.max_passages)
    else:
        raise EvaluationFailed("--gateway and --indexer go together: both, or neither")


def _calibrate(evaluation: Evaluation, questions: QuestionSet, order: CalibrationOrder) -> calibration.Fit:
    if not any(question.is_ranked for question in questions.questions):
        raise EvaluationFailed("cannot calibrate: no query has a relevant document")
    return calibration.fit(evaluation.evidence, order.max_false_refusals)


def _made_with(questions: QuestionSet, fit: calibration.Fit, order: CalibrationOrder) -> str:
    half = fit.fitted.num_answerable, fit.fitted.num_unanswerable
    return (
        f"trivium eval {questions.name} --calibrate --max-false-refusals {order.max_false_refusals:g}: fitted on "
        f"{half[0]:,} answerable and {half[1]:,} unanswerable questions"
    )


def _require_writable(path: Path) -> None:
    """Before the work, not after it."""
    if not path.parent.is_dir() or path.is_dir():
        raise EvaluationFailed(f"{path}: is not a file in a folder that exists")


@contextmanager
def _progress_shown(questions: QuestionSet, settings: Settings) -> Iterator[evaluations.Progress]:
    """On standard error, gone when done; nothing where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield evaluations.Progress()
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("·"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        expand=True,
    )
    num_asked = len(evaluations.wanted_of(questions, settings.wants_logits))
    with bar:
        task = bar.add_task("starting", total=None)

        def on_status(text: str) -> None:
            total = {"ingesting the corpus": questions.num_documents, "asking": num_asked}.get(text)
            bar.reset(task, description=text, total=total)

        def on_ingest(summary: Summary) -> None:
            description = "publishing" if summary.is_publishing else "ingesting the corpus"
            bar.update(task, completed=summary.outcomes.total(), description=description)

        yield evaluations.Progress(on_status, on_ingest, lambda count: bar.update(task, completed=count))
