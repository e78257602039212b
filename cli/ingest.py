"""`trivium ingest`: a progress bar over an upload, and what became of every file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cli.reading.near_duplicates import NearDuplicates
from cli.reading.read import ReadOptions, count_files, read_all
from cli.summary import OUTCOMES, Summary
from cli.upload import OnProgress, Upload, upload

MAX_NEAR_DUPLICATES_SHOWN = 20
"""`--json` names them all."""


def ingest(target: Upload, paths: Sequence[Path], options: ReadOptions, as_json: bool) -> bool:
    """Store and publish the documents under `paths`, showing how it goes. True when nothing was rejected."""
    with _progress_shown(paths) as on_progress:
        summary = upload(target, read_all(paths, options), NearDuplicates(), on_progress)
    if as_json:
        print(json.dumps(summary.to_dict(), ensure_ascii=False))
    else:
        show(summary, Console())
    return not summary.rejections


def show(summary: Summary, console: Console) -> None:
    """Print every rejected file with its reason, near-duplicates, counts, and the version."""
    for path, reason in summary.rejections:
        console.print(f"[red]rejected[/] {escape(path)}: {escape(reason)}", soft_wrap=True, highlight=False)
    for one in summary.near_duplicates[:MAX_NEAR_DUPLICATES_SHOWN]:
        line = f"[yellow]near-duplicate[/] {escape(one.path)}: says nearly what {escape(one.nearly_equals)} says"
        console.print(line, soft_wrap=True, highlight=False)
    console.print(_table(summary))
    if summary.num_unpruned:
        reason = "a file could not be read" if summary.is_any_unread else "nothing was read"
        console.print(f"[yellow]{summary.num_unpruned:,} documents were not pruned[/]: {reason}", highlight=False)
    if summary.index_version:
        show_published(summary, console)
    else:
        console.print("nothing was stored, so nothing was published")


def show_published(summary: Summary, console: Console) -> None:
    """Print which version holds how much."""
    console.print(
        f"collection [bold]{summary.collection}[/] is published as version {summary.index_version}: "
        f"{summary.num_published_documents:,} documents, {summary.num_published_passages:,} passages",
        soft_wrap=True,
        highlight=False,
    )


def _table(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    counts = " · ".join(f"{summary.outcomes[name]:,} {name}" for name in OUTCOMES)
    table.add_row(Text("documents", style="bold"), counts)
    if summary.num_passages:
        table.add_row(Text("passages", style="bold"), f"{summary.num_passages:,} new")
    if summary.num_deleted:
        table.add_row(Text("pruned", style="bold"), f"{summary.num_deleted:,} documents")
    if summary.languages:
        table.add_row(Text("languages", style="bold"), _by_count(summary.languages))
    if summary.dropped:
        table.add_row(Text("cleaned", style="bold"), _by_count(summary.dropped))
    if summary.near_duplicates:
        table.add_row(Text("near-duplicates", style="bold"), f"{len(summary.near_duplicates):,}")
    return table


def _by_count(counts: Counter[str]) -> str:
    return " · ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.most_common())


@contextmanager
def _progress_shown(paths: Sequence[Path]) -> Iterator[OnProgress]:
    """On standard error, gone when done; nothing where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda summary: None
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(
            "files, {task.fields[files_rate]:.1f}/s · "
            "{task.fields[passages]:,} passages, {task.fields[passages_rate]:.0f}/s ·"
        ),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        expand=True,
    )
    with progress:
        task = progress.add_task("ingesting", total=count_files(paths), passages=0, files_rate=0.0, passages_rate=0.0)

        def on_progress(summary: Summary) -> None:
            elapsed_s = progress.tasks[task].elapsed or float("inf")
            progress.update(
                task,
                completed=summary.num_files,
                description="publishing" if summary.is_publishing else "ingesting",
                passages=summary.num_passages,
                files_rate=summary.num_files / elapsed_s,
                passages_rate=summary.num_passages / elapsed_s,
            )

        yield on_progress
