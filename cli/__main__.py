"""The `trivium` command. Each command imports what it needs when it runs, so that `--help` comes at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.collection_app import app as collection
from cli.options import (
    Collection,
    EfSearch,
    Filter,
    Gateway,
    IdField,
    Indexer,
    Json,
    Language,
    MaxOutputTokens,
    MetadataFields,
    MinOutputTokens,
    MinP,
    NoRepeatNgramSize,
    NumBeams,
    NumCandidates,
    NumProbed,
    Prune,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TextFields,
    Timeout,
    TitleField,
    TopK,
    TopKTokens,
    TopP,
    UriField,
    Wait,
    console_for,
    failures_shown,
    read_filter,
    read_sampling,
)

if TYPE_CHECKING:
    from cli.reading.read import ReadOptions
    from trivium.v1 import gateway_pb2

app = typer.Typer(
    name="trivium",
    help="Answers from your own documents: retrieval, reranking and generation as gRPC services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(collection, name="collection")

TLS_CERTIFICATE, TLS_KEY, TLS_CA = (f"TRIVIUM_TLS_{name}_PATH" for name in ("CERTIFICATE", "KEY", "CA"))
"""Whoever opens a channel reads them (cli/connection.py). The options below are other names for them."""


@app.callback()
def connect_securely(
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Our certificate, PEM. With all three: mutual TLS.", envvar=TLS_CERTIFICATE)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", envvar=TLS_KEY)] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="The servers' authority, PEM.", envvar=TLS_CA)] = None,
) -> None:
    for variable, path in ((TLS_CERTIFICATE, tls_certificate), (TLS_KEY, tls_key), (TLS_CA, tls_ca)):
        if path is not None:
            os.environ[variable] = str(path)


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Folder of the collections; made if missing.")] = Path("trivium-data"),
    port_base: Annotated[
        int,
        typer.Option(
            help="The gateway's port; the other four follow, metrics 100 above, health 200.", min=1, max=65_300
        ),
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
    with failures_shown():
        raise typer.Exit(0 if up(system, Console()) else 1)


@app.command()
def ingest(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files, folders, archives: Markdown, HTML, PDF, DOCX, CSV, JSON Lines, plain text."),
    ],
    collection: Collection = "default",
    indexer: Indexer = "127.0.0.1:7002",
    language: Language = None,
    wait: Wait = 0.0,
    id_field: IdField = "",
    title_field: TitleField = "",
    text_field: TextFields = None,
    uri_field: UriField = "",
    metadata: MetadataFields = None,
    prune: Prune = False,
    json: Json = False,
) -> None:
    """Store documents and publish them.

    A file that cannot be stored is named with its reason, and the rest go on; the exit status is then 1. Only
    documents that differ from what the collection holds are sent. When a file could not be read, or nothing was,
    --prune deletes nothing.
    """
    from cli.ingest import ingest
    from cli.upload import Upload

    fields = _metadata_fields(metadata or [])
    options = _read_options(id_field, title_field, text_field, uri_field, fields)
    with failures_shown(json):
        target = Upload(indexer, collection, language, wait, prune, fields)
        raise typer.Exit(0 if ingest(target, paths, options, json) else 1)


@app.command()
def build(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders, archives, as `ingest` reads them.")],
    collection: Collection = "default",
    processes: Annotated[int, typer.Option(help="Processes that encode; with GPUs, each has its own.", min=1)] = 1,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each process. [default: the CPUs, divided]", min=1)
    ] = None,
    work_dir: Annotated[
        Path, typer.Option(help="Where documents and vectors lie meanwhile. With the same one, a build goes on.")
    ] = Path("trivium-build"),
    indexer: Indexer = "127.0.0.1:7002",
    language: Language = None,
    wait: Wait = 0.0,
    id_field: IdField = "",
    title_field: TitleField = "",
    text_field: TextFields = None,
    uri_field: UriField = "",
    metadata: MetadataFields = None,
    prune: Prune = False,
    json: Json = False,
) -> None:
    """Store and publish a large corpus: what `ingest` does, encoded by processes of their own under torchrun.

    They take the indexer's settings (INDEXER_MODEL=…). Broken off, it goes on where it was when it is started again:
    what is encoded already is not encoded again.
    """
    from cli.bulk.build import BuildOptions, build
    from cli.bulk.torchrun import default_threads
    from cli.upload import Upload

    fields = _metadata_fields(metadata or [])
    options = _read_options(id_field, title_field, text_field, uri_field, fields)
    how = BuildOptions(work_dir, processes, threads or default_threads(processes))
    with failures_shown(json):
        target = Upload(indexer, collection, language, wait, prune, fields)
        raise typer.Exit(0 if build(target, paths, options, how, json) else 1)


@app.command()
def ask(
    question: str,
    gateway: Gateway = "127.0.0.1:7000",
    collection: Collection = "default",
    top_k: TopK = None,
    filter: Filter = "",
    max_output_tokens: MaxOutputTokens = None,
    min_output_tokens: MinOutputTokens = None,
    temperature: Temperature = None,
    top_k_tokens: TopKTokens = None,
    top_p: TopP = None,
    min_p: MinP = None,
    seed: Seed = None,
    repetition_penalty: RepetitionPenalty = None,
    no_repeat_ngram_size: NoRepeatNgramSize = None,
    stop: Stop = None,
    num_beams: NumBeams = None,
    timeout: Timeout = 30.0,
    json: Json = False,
) -> None:
    """Answer a question, with what the answer rests on and where the time went."""
    from rich.console import Console

    from cli.ask import as_json, ask

    sampling = read_sampling(
        max_output_tokens=max_output_tokens,
        min_output_tokens=min_output_tokens,
        temperature=temperature,
        top_k=top_k_tokens,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        stop=stop,
        num_beams=num_beams,
    )
    with failures_shown(json):
        console = Console(quiet=json)
        options = _search_options(collection, top_k, filter=filter)
        answer = ask(gateway, question, options, timeout, console, sampling)
    if json:
        print(as_json(answer))


@app.command()
def search(
    question: str,
    gateway: Gateway = "127.0.0.1:7000",
    collection: Collection = "default",
    top_k: TopK = None,
    num_candidates: NumCandidates = None,
    filter: Filter = "",
    nprobe: NumProbed = None,
    ef_search: EfSearch = None,
    timeout: Timeout = 30.0,
    json: Json = False,
) -> None:
    """Find passages for a question, with the rank and score of every leg."""
    from rich.console import Console

    from cli.ask import as_json
    from cli.search import search, show

    with failures_shown(json):
        options = _search_options(collection, top_k, num_candidates, filter, nprobe, ef_search)
        response = search(gateway, question, options, timeout)
    if json:
        print(as_json(response))
    else:
        show(response, Console())


@app.command()
def explain(
    question: str,
    passage_id: Annotated[str | None, typer.Option(help="Say why this passage is, or is not, in the answer.")] = None,
    gateway: Gateway = "127.0.0.1:7000",
    collection: Collection = "default",
    top_k: TopK = None,
    num_candidates: NumCandidates = None,
    filter: Filter = "",
    nprobe: NumProbed = None,
    ef_search: EfSearch = None,
    timeout: Timeout = 30.0,
    json: Json = False,
) -> None:
    """Show everything that a question's search finds, and why each passage was kept or dropped."""
    from cli.ask import as_json
    from cli.explain import explain, show

    with failures_shown(json):
        options = _search_options(collection, top_k, num_candidates, filter, nprobe, ef_search)
        response = explain(gateway, question, options, passage_id, timeout)
    if json:
        print(as_json(response))
    else:
        show(response, console_for(json))


@app.command()
def demo() -> None:
    """Start everything, ask the project's own documentation three questions, stop everything.

    The exit status is 0 only when every answer cites the document that it should.
    """
    from rich.console import Console

    from cli.demo import DOCUMENTS, QUESTIONS, demo

    with failures_shown():
        raise typer.Exit(0 if demo(DOCUMENTS, QUESTIONS, Console()) else 1)


@app.command()
def doctor(
    gateway: Annotated[str, typer.Option(help="The gateway's gRPC address.", envvar="TRIVIUM_GATEWAY")] = "",
    retriever: Annotated[str, typer.Option(help="The retrievers: host:port, dns:///name:port, ipv4:a:p,b:p.")] = "",
    reranker: Annotated[str, typer.Option(help="The rerankers, likewise.")] = "",
    generator: Annotated[str, typer.Option(help="The generators, likewise.")] = "",
    indexer: Annotated[str, typer.Option(help="The indexer's gRPC address.", envvar="TRIVIUM_INDEXER")] = "",
    question: Annotated[str, typer.Option(help="Ask it, and look at all that the answer must carry.")] = "",
    expect_source: Annotated[str, typer.Option(help="Part of a uri or document id that the answer must cite.")] = "",
    collection: Collection = "default",
    timeout: Annotated[float, typer.Option(help="Seconds for each connection and each small call.", min=0.1)] = 5.0,
    answer_timeout: Annotated[float, typer.Option(help="Seconds that the question may take.", min=0.1)] = 30.0,
    json: Json = False,
) -> None:
    """Check this container and what it can reach, and say what to do about what is wrong.

    Without addresses, those in the environment of the process whose container this is are checked, or else those
    of `trivium up`. The exit status is 1 when a check fails.
    """
    from cli.checks.plan import Order
    from cli.doctor import doctor

    addresses = {
        "gateway": gateway,
        "retriever": retriever,
        "reranker": reranker,
        "generator": generator,
        "indexer": indexer,
    }
    order = Order(addresses, question, expect_source, collection, timeout, answer_timeout)
    raise typer.Exit(0 if doctor(order, console_for(json), json) else 1)


@app.command()
def load(
    question: Annotated[list[str], typer.Option(help="What to ask; may be repeated, then in turn.")],
    gateway: Gateway = "127.0.0.1:7000",
    rps: Annotated[int, typer.Option(help="Questions sent a second, whether or not they are answered.", min=1)] = 5,
    duration: Annotated[float, typer.Option(help="Seconds for which they are sent.", min=1, max=3_600)] = 30,
    timeout: Annotated[float, typer.Option(help="Seconds that one question may take.", min=0.1, max=600)] = 10,
    collection: Collection = "default",
    top_k: TopK = None,
    connections: Annotated[int, typer.Option(help="To how many connections they are spread.", min=1, max=100)] = 4,
    max_error_share: Annotated[float, typer.Option(help="Share that may fail, 0 to 1.", min=0, max=1)] = 0.0,
    max_p50_ms: Annotated[float | None, typer.Option(help="Milliseconds that half of the answers may take.")] = None,
    max_p99_ms: Annotated[float | None, typer.Option(help="Milliseconds that 99 of 100 answers may take.")] = None,
    json: Json = False,
) -> None:
    """Send questions at a steady rate, with ghz, and hold the answers to limits.

    The exit status is 1 when a limit is broken. At most 100,000 questions are sent.
    """
    from cli.ghz import Load
    from cli.load import Limits, load

    asked = Load(gateway, question, rps, duration, timeout, collection, top_k, connections)
    limits = Limits(max_error_share, max_p50_ms, max_p99_ms)
    with failures_shown(json):
        raise typer.Exit(0 if load(asked, limits, console_for(json), json) else 1)


@app.command("eval")
def evaluate(
    path: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder in the BEIR layout: corpus, queries, qrels/test.tsv.")
    ] = None,
    gateway: Annotated[
        str, typer.Option(help="Ask this gateway, with --indexer. [default: processes of its own]")
    ] = "",
    indexer: Annotated[str, typer.Option(help="The indexer that belongs to --gateway.")] = "",
    max_passages: Annotated[int, typer.Option(help="That gateway's max_top_k.", min=1, max=1_000)] = 100,
    data: Annotated[
        Path | None, typer.Option(help="Keep the collection here for the next run. [default: removed at the end]")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the models of its own processes run.")] = "auto",
    language: Annotated[str | None, typer.Option(help="ISO 639-1 language of the corpus. [default: en]")] = None,
    num_candidates: Annotated[int, typer.Option(help="How many passages are reranked.", min=1, max=1_000)] = 30,
    concurrency: Annotated[int, typer.Option(help="Questions on their way at once.", min=1, max=256)] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds that one call may take.", min=0.1)] = 60.0,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Fit the reranker's probabilities on half of the questions.")
    ] = None,
    max_false_refusals: Annotated[
        float, typer.Option(help="Share of the answerable questions that the threshold may refuse.", min=0, max=1)
    ] = 0.05,
    reranker_engine: Annotated[str, typer.Option(help="To calibrate at an address: its engine.")] = "",
    reranker_model: Annotated[str, typer.Option(help="To calibrate at an address: its model.")] = "",
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A.json B.json", help="Test how two evaluations differ.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure rankings, answers and refusals on judged questions, compare two measurements, or calibrate.

    Settings in the environment (RERANKER_MODEL=…) reach the processes that it starts.
    """
    from cli.evaluation import command
    from cli.evaluation.evaluation import Settings

    if (path is None) == (compare is None):
        raise typer.BadParameter("either DIR or --compare A.json B.json")
    with failures_shown(json):
        if compare:
            command.compare(*compare, console_for(json), json)
        elif path:
            place = command.Place(gateway, indexer, data, device, max_passages)
            settings = Settings(num_candidates, concurrency, timeout, language)
            order = (
                command.CalibrationOrder(calibrate, max_false_refusals, reranker_engine, reranker_model)
                if calibrate
                else None
            )
            command.run(path, place, settings, order, console_for(json), json)


def _search_options(
    collection: str,
    top_k: int | None,
    num_candidates: int | None = None,
    filter: str = "",
    nprobe: int | None = None,
    ef_search: int | None = None,
) -> gateway_pb2.SearchOptions:
    from trivium.v1 import gateway_pb2

    return gateway_pb2.SearchOptions(
        collection=collection,
        top_k=top_k,
        num_candidates=num_candidates,
        filter=read_filter(filter),
        nprobe=nprobe,
        ef_search=ef_search,
    )


def _read_options(
    id_field: str, title_field: str, text_fields: list[str] | None, uri_field: str, metadata_fields: dict[str, str]
) -> ReadOptions:
    from cli.reading.read import ReadOptions

    return ReadOptions(
        id_field=id_field,
        title_field=title_field,
        text_fields=tuple(text_fields or ()),
        uri_field=uri_field,
        metadata_fields=metadata_fields,
    )


def _metadata_fields(texts: list[str]) -> dict[str, str]:
    """Types by name, of `name:type` texts."""
    from cli.reading.metadata import TYPES

    fields: dict[str, str] = {}
    for text in texts:
        name, _, kind = text.rpartition(":")
        if not name or kind not in TYPES:
            raise typer.BadParameter(f"{text!r} is no NAME:TYPE; types are {', '.join(TYPES)}", param_hint="--metadata")
        fields[name] = kind
    return fields


if __name__ == "__main__":
    app(prog_name="trivium")
