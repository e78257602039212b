"""How far a build or an import is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn

from cli.bulk.torchrun import Encoding

Thing = TypeVar("Thing")

LINE_INTERVAL_S = 30.0


class Stages:
    """One stage after the other, each with an amount to do."""

    def __init__(self, console: Console, progress: Progress | None = None) -> None:
        self._console, self._progress = console, progress
        self._task: TaskID | None = None
        self._name, self._unit, self._total, self._done = "", "", 0, 0
        self._began_at = self._shown_at = time.monotonic()

    def begin(self, name: str, total: int, unit: str) -> None:
        """`total` of that unit are to be done; 0 when nobody can tell."""
        self._name, self._unit, self._total, self._done = name, unit, total, 0
        self._began_at = self._shown_at = time.monotonic()
        if self._progress is not None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(name, total=total or None, detail="")

    def counted(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """The things, each of them noted as one that is done."""
        for number, thing in enumerate(things, 1):
            self._show(number, number)
            yield thing

    def stored(self, number: int) -> None:
        """So many passages are."""
        self._show(number, number)

    def encoded(self, encoding: Encoding) -> None:
        """So far it is."""
        self._show(encoding.num_characters, encoding.num_passages)

    def _show(self, done: int, number: int) -> None:
        """`done` of the total; `number` is what a reader is told."""
        self._done = done
        detail = self._detail(number)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, detail=detail)
        elif time.monotonic() - self._shown_at >= LINE_INTERVAL_S:
            self._shown_at = time.monotonic()
            share = f"{min(1.0, done / self._total):.0%}, " if self._total else ""
            self._console.print(f"{self._name}: {share}{detail}", highlight=False, soft_wrap=True)

    def _detail(self, number: int) -> str:
        elapsed_s = time.monotonic() - self._began_at
        unit = "passages" if self._unit == "characters" else self._unit
        parts = [f"{number:,} {unit}", f"{number / elapsed_s:,.0f}/s" if elapsed_s > 0 else ""]
        if self._done and self._total > self._done:
            left_s = elapsed_s * (self._total - self._done) / self._done
            parts.append(f"{timedelta(seconds=round(left_s))} left")
        return ", ".join(filter(None, parts))


@contextmanager
def stages_shown() -> Iterator[Stages]:
    """On standard error; a terminal's bar is gone when done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Stages(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn())
    with Progress(*columns, TextColumn("{task.fields[detail]}"), console=console, transient=True) as progress:
        yield Stages(console, progress)
