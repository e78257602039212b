"""Options that several commands have, and how a command ends. Imports nothing that makes `--help` wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trivium.v1 import generator_pb2, metadata_pb2

Gateway = Annotated[str, typer.Option(help="The gateway's gRPC address.", envvar="TRIVIUM_GATEWAY")]
Indexer = Annotated[str, typer.Option(help="The indexer's gRPC address.", envvar="TRIVIUM_INDEXER")]
Collection = Annotated[str, typer.Option(help="The collection's name.")]
TopK = Annotated[int | None, typer.Option(help="How many passages are kept. [default: 5]", min=1, max=100)]
NumCandidates = Annotated[
    int | None, typer.Option(help="How many passages are reranked. [default: 30]", min=1, max=1_000)
]
NumProbed = Annotated[int | None, typer.Option("--nprobe", help="How many lists of an IVF index are searched.", min=1)]
EfSearch = Annotated[int | None, typer.Option(help="How far the walk over an HNSW index looks.", min=1)]
Language = Annotated[str | None, typer.Option(help="ISO 639-1 language of a new collection. [default: en]")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for an indexer that does not serve yet.", min=0, max=86_400)]
IdField = Annotated[str, typer.Option(help="CSV, JSON Lines: the field whose value is the document id.")]
TitleField = Annotated[str, typer.Option(help="CSV, JSON Lines: the field with the title.")]
TextFields = Annotated[
    list[str] | None, typer.Option(help="CSV, JSON Lines: a field with text; may be repeated, then a section each.")
]
UriField = Annotated[str, typer.Option(help="CSV, JSON Lines: the field with the address to open.")]
MetadataFields = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:TYPE",
        help="CSV, JSON Lines: a field that filters may name; may be repeated. A new collection declares them. "
        "Types: string, strings (a list, or separated by ;), integer, number, boolean, time (ISO 8601).",
    ),
]
Prune = Annotated[bool, typer.Option("--prune", help="Delete every document of the collection that was not read.")]
MaxOutputTokens = Annotated[
    int | None, typer.Option(help="Tokens an answer may have. [default: 256]", min=1, max=4_096)
]
MinOutputTokens = Annotated[int | None, typer.Option(help="Tokens it must have before it may end.", min=0, max=4_096)]
Temperature = Annotated[
    float | None,
    typer.Option(help="Draw tokens by chance, more makes unlikely ones likelier. 0 is greedy.", min=0, max=2),
]
TopKTokens = Annotated[int | None, typer.Option(help="Draw among so many of the likeliest tokens.", min=1, max=1_000)]
TopP = Annotated[
    float | None, typer.Option(help="Draw among the fewest tokens that together are so probable.", min=0, max=1)
]
MinP = Annotated[
    float | None, typer.Option(help="Draw among tokens at least this share as probable as the likeliest.", min=0, max=1)
]
Seed = Annotated[int | None, typer.Option(help="Draw the same each time.", min=0, max=2**64 - 1)]
RepetitionPenalty = Annotated[float | None, typer.Option(help="Above 1 repeats less.", min=0, max=10)]
NoRepeatNgramSize = Annotated[
    int | None, typer.Option(help="No run of so many tokens occurs twice in an answer.", min=0, max=100)
]
Stop = Annotated[list[str] | None, typer.Option(help="A string that ends the answer; may be repeated.")]
NumBeams = Annotated[int | None, typer.Option(help="Beams to search with (seq2seq, ctranslate2).", min=1, max=16)]
Timeout = Annotated[float, typer.Option(help="Seconds the whole question may take.", min=0.001)]
Filter = Annotated[
    str,
    typer.Option(
        metavar="JSON",
        help='Choose documents by metadata: {"equals": {"field": "year", "value": {"integer_value": 2024}}}.',
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def read_filter(text: str) -> metadata_pb2.Filter | None:
    """What `--filter` says; None where it says nothing."""
    from google.protobuf import json_format

    from trivium.v1 import metadata_pb2

    if not text:
        return None
    try:
        return json_format.Parse(text, metadata_pb2.Filter())
    except json_format.ParseError as error:
        raise typer.BadParameter(str(error), param_hint="--filter") from None


def read_sampling(**given: Any) -> generator_pb2.Sampling | None:
    """What the options say of how the answer is written; None where they say nothing."""
    from trivium.v1 import generator_pb2

    given = {name: value for name, value in given.items() if value not in (None, [])}
    return generator_pb2.Sampling(**given) if given else None


@contextmanager
def failures_shown(json: bool = False) -> Iterator[None]:
    """Print what went wrong in one line on standard error, or as the one JSON object, and exit with 1."""
    from chassis.config import ConfigError
    from cli.bulk.failure import BulkFailed
    from cli.connection import CallFailed
    from cli.evaluation.failure import EvaluationFailed
    from cli.ghz import LoadFailed
    from cli.processes import ProcessFailed

    try:
        yield
    except CallFailed as error:
        if json:
            from json import dumps

            print(dumps(error.refusal.to_dict(), ensure_ascii=False))
        else:
            typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None
    except BulkFailed as error:
        if json:
            from json import dumps

            print(dumps({"error": {"code": error.reason, "message": str(error)}}, ensure_ascii=False))
        else:
            typer.secho(f"{error.reason}: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    except (ConfigError, EvaluationFailed, LoadFailed, ProcessFailed) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None


def console_for(json: bool) -> Console:
    """For a report. A log has no width of its own: lines of 120 characters there."""
    from rich.console import Console

    console = Console(quiet=json)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(quiet=json, width=120)
