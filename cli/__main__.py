"""The `trivium` command. Each command imports what it needs when it runs, so that `--help` comes at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trivium.v1 import gateway_pb2

app = typer.Typer(
    name="trivium",
    help="Answers from your own documents: retrieval, reranking and generation as gRPC services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Gateway = Annotated[str, typer.Option(help="The gateway's gRPC address.", envvar="TRIVIUM_GATEWAY")]
Indexer = Annotated[str, typer.Option(help="The indexer's gRPC address.", envvar="TRIVIUM_INDEXER")]
Collection = Annotated[str, typer.Option(help="The collection's name.")]
TopK = Annotated[int | None, typer.Option(help="How many passages are kept. [default: 5]", min=1, max=100)]
Timeout = Annotated[float, typer.Option(help="Seconds the whole question may take.", min=0.001)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder of the collections; made if missing.")] = Path("trivium-data"),
    port_base: Annotated[
        int, typer.Option(help="The gateway's port; the other four follow, metrics 100 above.", min=1, max=65_400)
    ] = 7_000,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take any free ports instead.")] = False,
    device: Annotated[str, typer.Option(help="Where the models run: auto, cpu, cuda:0 …")] = "auto",
    otlp: Annotated[str, typer.Option(help="OTLP receiver for spans: http://host:port.")] = "",
) -> None:
    """Run the five processes on this machine until Ctrl-C.

    Settings in the environment (RERANKER_MODEL=…) reach their process.
    """
    from rich.console import Console

    from cli.system import System
    from cli.up import inherited_settings, up

    system = System(
        data,
        settings=inherited_settings(),
        port_base=None if free_ports else port_base,
        device=device,
        otlp_endpoint=otlp,
        reflection=True,
    )
    with _failures_shown():
        raise typer.Exit(0 if up(system, Console()) else 1)


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: Markdown and plain text.")],
    collection: Collection = "default",
    indexer: Indexer = "127.0.0.1:7002",
    language: Annotated[str | None, typer.Option(help="ISO 639-1 language of a new collection. [default: en]")] = None,
    json: Json = False,
) -> None:
    """Store documents and publish them.

    A file that cannot be stored is named with its reason, and the rest go on; the exit status is then 1. The
    same file twice changes nothing.
    """
    from cli.ingest import ingest

    with _failures_shown(json):
        raise typer.Exit(0 if ingest(indexer, paths, collection, language, json) else 1)


@app.command()
def ask(
    question: str,
    gateway: Gateway = "127.0.0.1:7000",
    collection: Collection = "default",
    top_k: TopK = None,
    timeout: Timeout = 30.0,
    json: Json = False,
) -> None:
    """Answer a question, with what the answer rests on and where the time went."""
    from rich.console import Console

    from cli.ask import as_json, ask

    with _failures_shown(json):
        console = Console(quiet=json)
        answer = ask(gateway, question, _search_options(collection, top_k), timeout, console)
    if json:
        print(as_json(answer))


@app.command()
def search(
    question: str,
    gateway: Gateway = "127.0.0.1:7000",
    collection: Collection = "default",
    top_k: TopK = None,
    timeout: Timeout = 30.0,
    json: Json = False,
) -> None:
    """Find passages for a question, with the rank and score of every leg."""
    from rich.console import Console

    from cli.ask import as_json
    from cli.search import search, show

    with _failures_shown(json):
        response = search(gateway, question, _search_options(collection, top_k), timeout)
    if json:
        print(as_json(response))
    else:
        show(response, Console())


@app.command()
def demo() -> None:
    """Start everything, ask the project's own documentation three questions, stop everything.

    The exit status is 0 only when every answer cites the document that it should.
    """
    from rich.console import Console

    from cli.demo import DOCUMENTS, QUESTIONS, demo

    with _failures_shown():
        raise typer.Exit(0 if demo(DOCUMENTS, QUESTIONS, Console()) else 1)


def _search_options(collection: str, top_k: int | None) -> gateway_pb2.SearchOptions:
    from trivium.v1 import gateway_pb2

    return gateway_pb2.SearchOptions(collection=collection, top_k=top_k)


@contextmanager
def _failures_shown(json: bool = False) -> Iterator[None]:
    """Print what went wrong in one line on standard error, or as the one JSON object, and exit with 1."""
    from cli.connection import CallFailed
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
    except ProcessFailed as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app(prog_name="trivium")
