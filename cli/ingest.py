"""`trivium ingest`: a progress bar over an upload, and what became of every file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from cli.documents import find_sources
from cli.upload import OnProgress, Summary, upload


def ingest(address: str, paths: Sequence[Path], collection: str, language: str | None, as_json: bool) -> bool:
    """Store and publish the documents under `paths`, showing how it goes. True when no file was rejected."""
    sources = [source for path in paths for source in find_sources(path)]
    with _progress_shown(len(sources)) as on_progress:
        summary = upload(address, sources, collection, language, on_progress)
    if as_json:
        print(json.dumps(summary.to_dict(), ensure_ascii=False))
    else:
        show(summary, Console())
    return not summary.rejections


def show(summary: Summary, console: Console) -> None:
    """Print every rejected file with its reason, and the counts."""
    for path, reason in summary.rejections.items():
        console.print(f"[red]rejected[/] {escape(path)}: {escape(reason)}", soft_wrap=True, highlight=False)
    counts = " · ".join(f"{summary.outcomes[name]} {name}" for name in ("created", "updated", "unchanged", "rejected"))
    console.print(f"{counts} · {summary.num_passages:,} passages", highlight=False)
    if summary.index_version:
        console.print(
            f"collection [bold]{summary.collection}[/] is published as version {summary.index_version}",
            highlight=False,
        )
    else:
        console.print("nothing was stored, so nothing was published")


@contextmanager
def _progress_shown(num_files: int) -> Iterator[OnProgress]:
    """On standard error, gone when done; nothing where that is no terminal."""
    console = Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("ingesting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files · {task.fields[passages]:,} passages · {task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=num_files, passages=0, rate=0.0)

        def on_progress(summary: Summary) -> None:
            elapsed_s = progress.tasks[task].elapsed or 0.0
            rate = summary.num_passages / elapsed_s if elapsed_s else 0.0
            progress.update(task, completed=summary.num_finished, passages=summary.num_passages, rate=rate)

        yield on_progress
