"""Where a question's time went, as bars: queue, compute and the rest, one line a stage."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from trivium.v1 import gateway_pb2, passage_pb2

QUEUE, COMPUTE, OTHER = ("yellow", "▒"), ("green", "█"), ("bright_black", "─")
COLUMNS = ("queue", "compute", "spent", "given", "batch", "tokens")
NUMBERS_WIDTH = 66
"""Cells that everything but the bars takes."""
BAR_WIDTHS = range(14, 41)


def waterfall(report: gateway_pb2.Report, width: int) -> RenderableType:
    """A table with one row for each stage that was called, the gateway's own time and the total.

    Bars begin where the stages before them ended. `width` is the terminal's, in cells.
    """
    bar_cells = min(max(width - NUMBERS_WIDTH, BAR_WIDTHS[0]), BAR_WIDTHS[-1])
    table = Table(box=None, pad_edge=False, header_style="bold", caption=_legend(), caption_justify="left")
    table.add_column("stage")
    table.add_column("", min_width=bar_cells, no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    cells_per_ms = bar_cells / report.elapsed_ms if report.elapsed_ms else 0.0
    began_ms = 0.0
    for budget, stats in _pairs(report):
        queue_ms, compute_ms = (stats.queue_ms, stats.compute_ms) if stats else (0.0, 0.0)
        bar = _bar(began_ms, queue_ms, compute_ms, budget.spent_ms, bar_cells, cells_per_ms)
        times = f"{budget.spent_ms:,.1f}", f"{budget.given_ms:,.0f}"
        if stats:
            device = f"{queue_ms:,.1f}", f"{compute_ms:,.1f}"
            table.add_row(budget.stage, bar, *device, *times, str(stats.batch_size), f"{stats.tokens:,}")
        else:
            table.add_row(budget.stage, bar, "–", "–", *times, Text("no reply", style="red"))
        began_ms += budget.spent_ms
    table.add_row("gateway", "", "", "", f"{report.gateway_ms:,.1f}")
    table.add_row("total", "", "", "", f"{report.elapsed_ms:,.1f}", f"{report.deadline_ms:,.0f}", style="bold")
    return table


def _pairs(
    report: gateway_pb2.Report,
) -> Iterator[tuple[gateway_pb2.StageBudget, passage_pb2.StageStats | None]]:
    """Each call's budget with the statistics of its reply; None when the stage never replied."""
    unused = list(report.stages)
    for budget in report.budgets:
        stats = next((one for one in unused if one.stage == budget.stage), None)
        if stats is not None:
            unused.remove(stats)
        yield budget, stats


def _bar(
    began_ms: float, queue_ms: float, compute_ms: float, spent_ms: float, bar_cells: int, cells_per_ms: float
) -> Text:
    """Cells from `began_ms` on; a part that took any time gets at least one while there is room."""
    bar = Text(" " * min(round(began_ms * cells_per_ms), bar_cells - 1))
    other_ms = max(0.0, spent_ms - queue_ms - compute_ms)
    for (style, cell), milliseconds in ((QUEUE, queue_ms), (COMPUTE, compute_ms), (OTHER, other_ms)):
        cells = max(round(milliseconds * cells_per_ms), 1 if milliseconds >= 0.05 else 0)
        bar.append(cell * min(cells, bar_cells - len(bar)), style)
    return bar


def _legend() -> Text:
    parts = zip((QUEUE, COMPUTE, OTHER), ("queue", "compute", "network and other work"), strict=True)
    legend = Text("milliseconds", style="dim")
    for (style, cell), name in parts:
        legend.append(f" · {cell}", style).append(f" {name}")
    return legend
