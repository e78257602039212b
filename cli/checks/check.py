"""A check: bounded in time, never raises, and says what to do about what it finds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

Value = TypeVar("Value")


class Status(StrEnum):
    """How a finding stands. Only FAILED makes `trivium doctor` fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One fact, and what to do about it."""

    status: Status
    text: str
    advice: str = ""


class Trouble(Exception):
    """The check failed: what is wrong, and what to do."""

    def __init__(self, text: str, advice: str) -> None:
        self.finding = Finding(Status.FAILED, text, advice)
        super().__init__(text)


class NotChecked(Exception):
    """The check does not apply here. The text says why."""


@dataclass(frozen=True)
class Check:
    """Something to look at, of one process or of the whole."""

    name: str
    """`device`."""
    subject: str
    """`reranker`."""
    examine: Callable[[], Iterable[Finding]]
    """Yields what it finds; may raise Trouble or NotChecked."""
    limit_s: float = 30.0
    """Seconds after which it is given up, and has failed."""
    needs: Sequence[tuple[str, str]] = field(default=())
    """Name and subject of checks without which this one would only fail again."""

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.subject

    def run(self) -> list[Finding]:
        """What it found, within `limit_s` seconds, whatever happens."""
        found: list[Finding] = []
        try:
            within(self.limit_s, lambda: found.extend(self.examine()))
        except Trouble as trouble:
            found.append(trouble.finding)
        except NotChecked as reason:
            found.append(Finding(Status.SKIPPED, str(reason)))
        except TimeoutError:
            text = f"no outcome within {self.limit_s:g} s"
            found.append(Finding(Status.FAILED, text, "Something hangs: a resolver, a disk or a frozen process."))
        except Exception as error:
            found.append(Finding(Status.FAILED, f"{type(error).__name__}: {error}", "The check itself broke."))
        return list(found)


def within(limit_s: float, function: Callable[[], Value]) -> Value:
    """What `function()` returns or raises. Raises TimeoutError after `limit_s`; its thread is then left behind."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="check", daemon=True).start()
    if not wait([future], limit_s).done:
        raise TimeoutError(f"no outcome within {limit_s:g} s")
    return future.result()
