"""`trivium search`: passages without an answer, with the rank and score that each leg gave them."""

from __future__ import annotations

from typing import Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from cli.answer import place
from cli.ask import show_footer, snippet
from cli.connection import calling, open_channel
from cli.waterfall import waterfall
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, passage_pb2

_ScoreField = Literal["dense_score", "bm25_score", "fused_score", "rerank_logit"]

LEGS: dict[str, _ScoreField] = {
    "dense": "dense_score",
    "bm25": "bm25_score",
    "fused": "fused_score",
    "rerank": "rerank_logit",
}
"""The score field of each leg; its rank field is `<leg>_rank`."""


def search(
    address: str, question: str, options: gateway_pb2.SearchOptions, timeout_s: float
) -> gateway_pb2.SearchResponse:
    """The passages that the gateway finds. Raises CallFailed."""
    request = gateway_pb2.SearchRequest(question=question, search=options)
    with calling("gateway", address), open_channel(address) as channel:
        return gateway_pb2_grpc.GatewayServiceStub(channel).Search(request, timeout=timeout_s)


def show(response: gateway_pb2.SearchResponse, console: Console) -> None:
    """Print the passages, the waterfall and the trace id."""
    console.print(scores_table(response) if response.sources else Text("Nothing was found.", style="yellow"))
    console.print()
    console.print(waterfall(response.report, console.width))
    show_footer(response.report, console)


def scores_table(response: gateway_pb2.SearchResponse) -> RenderableType:
    """One row for each passage; a leg that did not see it shows a dash."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right", style="bold cyan")
    table.add_column("passage", ratio=1)
    for leg in [*LEGS, "p"]:
        table.add_column(leg, justify="right", no_wrap=True)
    for source in response.sources:
        scores = source.scores
        words = Text.assemble((place(source.passage), "bold"), "\n", (snippet(source.passage.text, 120), "italic"))
        legs = (rank_and_score(scores, leg) for leg in LEGS)
        table.add_row(str(source.number), words, *legs, probability(scores))
    return table


def probability(scores: passage_pb2.Scores) -> str:
    """The calibrated one; a dash where there is none."""
    return f"{scores.rerank_probability:.2f}" if scores.HasField("rerank_probability") else "–"


def rank_and_score(scores: passage_pb2.Scores, leg: str) -> Text:
    """What one leg gave; a dash where it did not see the passage."""
    if not scores.HasField(LEGS[leg]):
        return Text("–", style="dim")
    rank, score = getattr(scores, f"{leg}_rank"), getattr(scores, LEGS[leg])
    return Text.assemble((f"{rank}.", "bold"), f" {score:.3f}")
