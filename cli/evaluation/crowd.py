"""Many questions at once, but never more than a bound, and not on after too many have failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import grpc

from cli.connection import Refusal
from cli.evaluation.asking import Degraded, Findings
from cli.evaluation.failure import EvaluationFailed
from cli.evaluation.question_set import Question

MAX_FAILED = 3
"""Questions that may fail before the whole does …"""
MAX_FAILED_SHARE = 0.01
"""… or this share of them, if that is more."""

OnProgress = Callable[[int], None]


@dataclass
class Asked:
    """What became of the questions."""

    findings_by_question_id: dict[str, Findings] = field(default_factory=dict)
    reason_by_question_id: dict[str, str] = field(default_factory=dict)
    """Why a question failed."""


def ask_all(
    questions: Sequence[Question], ask: Callable[[Question], Findings], concurrency: int, on_progress: OnProgress
) -> Asked:
    """Ask every question, `concurrency` at a time. `on_progress` gets how many are done.

    Raises EvaluationFailed as soon as more than a few have failed: what is left would say little of the rest.
    """
    asked = Asked()
    max_failed = max(MAX_FAILED, int(MAX_FAILED_SHARE * len(questions)))
    pool = ThreadPoolExecutor(concurrency, "question")
    try:
        waiting = {pool.submit(ask, question): question.question_id for question in questions}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                _note(waiting.pop(future), future, asked)
            on_progress(len(questions) - len(waiting))
            if len(asked.reason_by_question_id) > max_failed:
                raise EvaluationFailed(f"too many questions failed: {describe(asked.reason_by_question_id)}")
    finally:
        # After Ctrl-C those under way end with their channel, which the caller closes.
        pool.shutdown(wait=False, cancel_futures=True)
    if not asked.findings_by_question_id:
        raise EvaluationFailed(f"every question failed: {describe(asked.reason_by_question_id)}")
    return asked


def describe(reason_by_question_id: dict[str, str]) -> str:
    """The failed questions and their reasons, in one line."""
    return "; ".join(f"{question_id}: {reason}" for question_id, reason in reason_by_question_id.items())


def _note(question_id: str, future: Future[Findings], asked: Asked) -> None:
    try:
        asked.findings_by_question_id[question_id] = future.result()
    except grpc.RpcError as error:
        asked.reason_by_question_id[question_id] = Refusal.of(error).line
    except Degraded as error:
        asked.reason_by_question_id[question_id] = str(error)
