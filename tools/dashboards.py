"""Writes helm/trivium/files/dashboards, for Grafana 10.1 or newer: `python -m tools.dashboards`."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.common import VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, SortOrder, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
)

from tools.panels import ANSWERS_ROWS, OURS, STAGES_ROWS, Panel

FOLDER = Path(__file__).resolve().parents[1] / "helm" / "trivium" / "files" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def graph(panel: Panel) -> timeseries.Panel:
    """A panel as Grafana's builder has it."""
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(8)
        .height(8)
        .fill_opacity(8)
        .legend(
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for number, (expression, legend) in enumerate(panel.queries):
        query = Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number)).range()
        built.with_target(query.exemplar("_bucket" in expression).datasource(SOURCE))
    return built


def dashboard(uid: str, title: str, rows: dict[str, list[Panel]], has_jobs: bool) -> Dashboard:
    """A dashboard of these rows; `has_jobs` lets the reader choose processes."""
    built = (
        Dashboard(title)
        .uid(uid)
        .tags(["trivium"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Trivium")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["trivium"])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(variable("namespace", "Namespace", "label_values(trivium_ready, namespace)"))
    )
    if has_jobs:
        jobs = variable("job", "Process", f"label_values(trivium_ready{{{OURS}}}, job)")
        built.with_variable(jobs.multi(True).include_all(True).all_value(".+"))
    ids = count(1)
    for name, panels in rows.items():
        built.with_row(Row(name).id(next(ids)))
        for panel in panels:
            built.with_panel(graph(panel).id(next(ids)))
    return built


def variable(name: str, label: str, query: str) -> QueryVariable:
    """What the reader chooses from a label's values."""
    return (
        QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def texts() -> dict[str, str]:
    """The dashboards as JSON, by file name."""
    dashboards = {
        "trivium-answers.json": dashboard("trivium-answers", "Trivium: answers", ANSWERS_ROWS, has_jobs=False),
        "trivium-stages.json": dashboard("trivium-stages", "Trivium: stages", STAGES_ROWS, has_jobs=True),
    }
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {name: encoder.encode(built.build()) + "\n" for name, built in dashboards.items()}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
