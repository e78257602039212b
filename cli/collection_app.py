"""`trivium collection`: its commands. Each imports what it needs when it runs."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import Filter, Indexer, Json, Language, console_for, failures_shown, read_filter

app = typer.Typer(
    help="Collections and their versions: create, look, publish, roll back, delete.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The collection's name.")]
Version = Annotated[int, typer.Argument(help="The version's number.", min=1)]
ADDRESS = "127.0.0.1:7002"


class Metric(Enum):
    """How near two vectors are."""

    INNER_PRODUCT = "inner-product"
    COSINE = "cosine"


@app.command("list")
def list_collections(indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """All collections, with what they hold and what is published."""
    from cli import collection

    with failures_shown(json):
        collection.show_all(indexer, console_for(json), json)


@app.command()
def show(name: Name = "default", indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """One collection."""
    from cli import collection

    with failures_shown(json):
        collection.show_one(indexer, name, console_for(json), json)


@app.command("import")
def import_index(
    name: Name,
    index: Annotated[Path, typer.Option(help="A FAISS file: Flat, HNSW or IVF, inner product.", exists=True)],
    passages: Annotated[
        Path, typer.Option(help="JSON Lines, or a folder of Hugging Face datasets: row n is vector n.", exists=True)
    ],
    id_field: Annotated[
        str, typer.Option(help="Names the document; rows of one id that follow each other are one.")
    ] = "",
    title_field: Annotated[str, typer.Option(help="The title that was encoded with the text.")] = "",
    text_field: Annotated[str, typer.Option(help="The text that was encoded.")] = "",
    uri_field: Annotated[str, typer.Option(help="The address to open.")] = "",
    language: Language = None,
    work_dir: Annotated[Path | None, typer.Option(help="Where the vectors lie meanwhile. [default: as TMPDIR]")] = None,
    indexer: Indexer = ADDRESS,
    json: Json = False,
) -> None:
    """Take over an index that exists, with its passages, and publish it.

    Dimension, metric and count are compared, and the vectors of 64 documents made again, before anything is stored.
    The FAISS file is opened by a process of its own, which needs FAISS.
    """
    from cli.bulk.importing import Source, import_index
    from cli.bulk.passages import Fields
    from cli.upload import Upload

    source = Source(index, passages, Fields(id_field, title_field, text_field, uri_field))
    with failures_shown(json):
        is_whole = import_index(Upload(indexer, name, language), source, work_dir, json)
        raise typer.Exit(0 if is_whole else 1)


@app.command()
def create(
    name: Name,
    language: Annotated[str, typer.Option(help="ISO 639-1 language of its text.")] = "en",
    index: Annotated[str, typer.Option(help="FAISS factory string: Flat, IVFn,Flat, IVFn,PQm, HNSWm, …")] = "",
    metric: Annotated[Metric | None, typer.Option(help="What nearness means. [default: inner-product]")] = None,
    indexer: Indexer = ADDRESS,
    json: Json = False,
) -> None:
    """Make an empty collection, with the index that it is to have: `advise` says which.

    One that is there already stays as it is; with another language, index or metric it is an error.
    """
    from cli import collection
    from trivium.v1 import indexer_pb2

    wanted = None
    if index or metric:
        number = (
            indexer_pb2.DISTANCE_METRIC_COSINE if metric is Metric.COSINE else indexer_pb2.DISTANCE_METRIC_UNSPECIFIED
        )
        wanted = indexer_pb2.Index(factory=index, metric=number)
    with failures_shown(json):
        collection.create(indexer, name, language, wanted, console_for(json), json)


@app.command()
def advise(name: Name = "default", indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """Which index suits what is stored: memory, and recall measured on a sample, of each kind.

    It takes a minute or two of the indexer's cores.
    """
    from cli import collection

    with failures_shown(json):
        collection.advise(indexer, name, console_for(json), json)


@app.command()
def versions(name: Name = "default", indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """The versions that can be rolled back to, the newest first."""
    from cli import collection

    with failures_shown(json):
        collection.show_versions(indexer, name, console_for(json), json)


@app.command()
def publish(name: Name = "default", indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """Publish what is stored and let the retrievers follow."""
    from cli import collection

    with failures_shown(json):
        collection.publish(indexer, name, console_for(json), json)


@app.command()
def rollback(name: Name, version: Version, indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """Publish a new version with the documents of an old one, but for those that were deleted since.

    What was stored since is stored no longer until it is sent again.
    """
    from cli import collection

    with failures_shown(json):
        collection.roll_back(indexer, name, version, console_for(json), json)


@app.command()
def verify(name: Name = "default", indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """Read all files: what is damaged, and where deleted documents still are.

    The exit status is 1 when something is damaged.
    """
    from cli import collection

    with failures_shown(json):
        raise typer.Exit(0 if collection.verify(indexer, name, console_for(json), json) else 1)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    indexer: Indexer = ADDRESS,
    json: Json = False,
) -> None:
    """Delete a collection with its documents and all versions. There is no way back."""
    from cli import collection

    if not yes:
        typer.confirm(f"Delete collection {name} with all that it holds?", abort=True)
    with failures_shown(json):
        collection.delete(indexer, name, console_for(json), json)


@app.command("delete-version")
def delete_version(name: Name, version: Version, indexer: Indexer = ADDRESS, json: Json = False) -> None:
    """Delete the files of an old version. Its documents stay stored."""
    from cli import collection

    with failures_shown(json):
        collection.delete_version(indexer, name, version, console_for(json), json)


@app.command("delete-documents")
def delete_documents(
    name: Name,
    document_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of the documents, as `search --json` names them.")
    ] = None,
    filter: Filter = "",
    purge: Annotated[bool, typer.Option("--purge", help="Delete every old version that holds them, too.")] = False,
    indexer: Indexer = ADDRESS,
    json: Json = False,
) -> None:
    """Delete documents by id or by their metadata, and publish a version without them.

    The exit status is 1 when one that was named was not there.
    """
    from cli import collection

    wanted = read_filter(filter)
    if bool(document_ids) == bool(wanted):
        raise typer.BadParameter("either ids of documents or --filter")
    with failures_shown(json):
        if wanted:
            collection.delete_chosen(indexer, name, wanted, purge, console_for(json), json)
            return
        assert document_ids
        are_all_deleted = collection.delete_documents(indexer, name, document_ids, purge, console_for(json), json)
        raise typer.Exit(0 if are_all_deleted else 1)
