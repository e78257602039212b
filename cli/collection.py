"""Collections and versions as the indexer tells them, and what it is told to do with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.ask import as_json
from cli.connection import calling, open_channel
from trivium.v1 import indexer_pb2, indexer_pb2_grpc, metadata_pb2

TIMEOUT_S = 86_400.0
"""For each call that writes: it may take hours. The indexer cuts it to its own longest deadline."""
LOOK_TIMEOUT_S = 60.0
MAX_IDS = 1_000
"""In one request."""


def show_all(address: str, console: Console, is_json: bool) -> None:
    """Raises CallFailed, as all of these do."""
    with _indexer(address) as stub:
        found = list(_collections(stub))
    if is_json:
        print(as_json(indexer_pb2.ListCollectionsResponse(collections=found)))
    elif found:
        console.print(_collections_table(found))
    else:
        console.print("There is no collection.")


def show_one(address: str, name: str, console: Console, is_json: bool) -> None:
    with _indexer(address) as stub:
        response = stub.GetCollection(indexer_pb2.GetCollectionRequest(name=name), timeout=LOOK_TIMEOUT_S)
    if is_json:
        print(as_json(response))
        return
    one = response.collection
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]collection[/]", one.name)
    table.add_row("[bold]published[/]", f"version {one.published_version}" if one.published_version else "nothing")
    table.add_row("[bold]documents[/]", f"{one.num_documents:,}, in {one.num_passages:,} passages")
    table.add_row("[bold]not published[/]", f"{one.num_unpublished_documents:,} stored, replaced or deleted since")
    table.add_row("[bold]analyzer[/]", _analyzer(one.analyzer))
    if one.fields:
        table.add_row("[bold]fields[/]", ", ".join(f"{escape(field.name)} ({_type(field)})" for field in one.fields))
    table.add_row("[bold]created[/]", _moment(one.created_at))
    console.print(table)


def show_versions(address: str, name: str, console: Console, is_json: bool) -> None:
    with _indexer(address) as stub:
        response = stub.ListVersions(indexer_pb2.ListVersionsRequest(collection=name), timeout=LOOK_TIMEOUT_S)
    if is_json:
        print(as_json(response))
    elif response.versions:
        console.print(_versions_table(response.versions))
    else:
        console.print("Nothing is published.")


def publish(address: str, name: str, console: Console, is_json: bool) -> None:
    with _indexer(address) as stub:
        response = stub.PublishVersion(indexer_pb2.PublishVersionRequest(collection=name), timeout=TIMEOUT_S)
    _tell(response, _published(name, response), console, is_json)


def roll_back(address: str, name: str, index_version: int, console: Console, is_json: bool) -> None:
    request = indexer_pb2.RollbackVersionRequest(collection=name, index_version=index_version)
    with _indexer(address) as stub:
        response = stub.RollbackVersion(request, timeout=TIMEOUT_S)
    text = f"{_published(name, response.version)}, as in version {index_version} without what was deleted since"
    _tell(response, text, console, is_json)


def verify(address: str, name: str, console: Console, is_json: bool) -> bool:
    """True when nothing is damaged."""
    with _indexer(address) as stub:
        response = stub.VerifyCollection(indexer_pb2.VerifyCollectionRequest(collection=name), timeout=TIMEOUT_S)
    if is_json:
        print(as_json(response))
    else:
        console.print(_checks_table(response))
        console.print(f"deleted documents that were looked for: {response.num_deleted_documents:,}", highlight=False)
    return not response.log.fault and not any(version.fault for version in response.versions)


def delete(address: str, name: str, console: Console, is_json: bool) -> None:
    with _indexer(address) as stub:
        response = stub.DeleteCollection(indexer_pb2.DeleteCollectionRequest(name=name), timeout=TIMEOUT_S)
    _tell(response, f"collection {name} is deleted, with all that it held", console, is_json)


def delete_version(address: str, name: str, index_version: int, console: Console, is_json: bool) -> None:
    request = indexer_pb2.DeleteVersionRequest(collection=name, index_version=index_version)
    with _indexer(address) as stub:
        response = stub.DeleteVersion(request, timeout=TIMEOUT_S)
    _tell(response, f"version {index_version} of collection {name} is deleted", console, is_json)


def delete_documents(
    address: str, name: str, document_ids: Sequence[str], purge: bool, console: Console, is_json: bool
) -> bool:
    """Publish a version without them. True when all of them were there."""
    response = indexer_pb2.DeleteDocumentsResponse()
    with _indexer(address) as stub:
        for one in _deletions(stub, name, document_ids):
            response.deleted_document_ids.extend(one.deleted_document_ids)
            response.num_deleted_documents += len(one.deleted_document_ids)
        for one in _deletions(stub, name, document_ids, publish=True, purge=purge):  # one publication for all
            response.absent_from_version = one.absent_from_version
            response.held_by_versions[:] = sorted({*response.held_by_versions, *one.held_by_versions})
    deleted = set(response.deleted_document_ids)
    missing = [one for one in dict.fromkeys(document_ids) if one not in deleted]
    if is_json:
        print(as_json(response))
        return not missing
    for document_id in missing:
        console.print(f"[yellow]not there[/] {escape(document_id)}", soft_wrap=True, highlight=False)
    console.print(_deleted(response, "--purge deletes what holds them"), soft_wrap=True, highlight=False)
    return not missing


def delete_chosen(
    address: str, name: str, wanted: metadata_pb2.Filter, purge: bool, console: Console, is_json: bool
) -> None:
    """Delete what the filter chooses, and publish a version without it."""
    request = indexer_pb2.DeleteDocumentsRequest(collection=name, filter=wanted, publish=True, purge=purge)
    with _indexer(address) as stub:
        response = stub.DeleteDocuments(request, timeout=TIMEOUT_S)
    _tell(response, _deleted(response, "delete-version deletes it"), console, is_json)


def _deleted(response: indexer_pb2.DeleteDocumentsResponse, remedy: str) -> str:
    text = f"{response.num_deleted_documents:,} deleted"
    if response.absent_from_version:
        text += f"; from version {response.absent_from_version} on they are in no index and not in the log"
    if response.held_by_versions:
        held_by = ", ".join(map(str, response.held_by_versions))
        text += f"; still held by version {held_by} ({remedy})"
    return text


def delete_all(stub: indexer_pb2_grpc.IndexerServiceStub, name: str, document_ids: Sequence[str]) -> int:
    """Delete any number of documents without publishing. How many were there. Raises grpc.RpcError."""
    return sum(len(one.deleted_document_ids) for one in _deletions(stub, name, document_ids))


def _deletions(
    stub: indexer_pb2_grpc.IndexerServiceStub,
    name: str,
    document_ids: Sequence[str],
    *,
    publish: bool = False,
    purge: bool = False,
) -> Iterator[indexer_pb2.DeleteDocumentsResponse]:
    for begin in range(0, len(document_ids), MAX_IDS):
        batch = document_ids[begin : begin + MAX_IDS]
        request = indexer_pb2.DeleteDocumentsRequest(collection=name, document_ids=batch, publish=publish, purge=purge)
        yield stub.DeleteDocuments(request, timeout=TIMEOUT_S)


@contextmanager
def _indexer(address: str) -> Iterator[indexer_pb2_grpc.IndexerServiceStub]:
    with calling("indexer", address), open_channel(address) as channel:
        yield indexer_pb2_grpc.IndexerServiceStub(channel)


def _collections(stub: indexer_pb2_grpc.IndexerServiceStub) -> Iterator[indexer_pb2.Collection]:
    """Of all pages."""
    request = indexer_pb2.ListCollectionsRequest()
    while True:
        page = stub.ListCollections(request, timeout=LOOK_TIMEOUT_S)
        yield from page.collections
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _collections_table(collections: Sequence[indexer_pb2.Collection]) -> Table:
    table = _table("collection", "version", "documents", "passages", "not published", "analyzer", "created")
    for one in collections:
        counts = (one.published_version, one.num_documents, one.num_passages, one.num_unpublished_documents)
        table.add_row(one.name, *(f"{count:,}" for count in counts), _analyzer(one.analyzer), _moment(one.created_at))
    return table


def _checks_table(response: indexer_pb2.VerifyCollectionResponse) -> Table:
    table = _table("what", "", "state", "deleted documents in it")
    log = response.log
    table.add_row("log", "", _state(log.fault, f"{log.num_records:,} records, all whole"), _held(log))
    for one in response.versions:
        published = "published" if one.is_published else ""
        state = _state(one.fault, "every file as it was written")
        table.add_row(f"version {one.index_version}", published, state, _held(one))
    return table


def _state(fault: str, otherwise: str) -> Text:
    return Text(fault or otherwise, style="red" if fault else "")


def _held(
    check: indexer_pb2.VerifyCollectionResponse.LogCheck | indexer_pb2.VerifyCollectionResponse.VersionCheck,
) -> str:
    """How many, and some of them by name."""
    if not check.num_held_documents:
        return "none"
    shown = ", ".join(map(escape, check.held_document_ids[:3]))
    return f"{check.num_held_documents:,}: {shown}{' …' if check.num_held_documents > 3 else ''}"


def _versions_table(versions: Sequence[indexer_pb2.IndexVersion]) -> Table:
    table = _table("version", "", "documents", "passages", "size", "created")
    for one in versions:
        table.add_row(
            str(one.index_version),
            "published" if one.is_published else "",
            f"{one.num_documents:,}",
            f"{one.num_passages:,}",
            decimal(one.num_bytes),
            _moment(one.created_at),
        )
    return table


def _table(*columns: str) -> Table:
    """Numbers to the right, words to the left."""
    words = {"collection", "", "analyzer", "created", "what"}
    long = {"state", "deleted documents in it"}
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in words | long else "right", no_wrap=name not in long)
    return table


def _analyzer(analyzer: indexer_pb2.Analyzer) -> str:
    parts = [analyzer.language, "stemmed" if analyzer.stemming else "", "stop words" if analyzer.stop_words else ""]
    return ", ".join(filter(None, parts))


def _type(field: metadata_pb2.FieldDefinition) -> str:
    return metadata_pb2.FieldType.Name(field.type).removeprefix("FIELD_TYPE_").lower()


def _moment(timestamp: Timestamp) -> str:
    return timestamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _published(name: str, version: indexer_pb2.PublishVersionResponse | indexer_pb2.IndexVersion) -> str:
    return (
        f"collection {name} is published as version {version.index_version}: "
        f"{version.num_documents:,} documents, {version.num_passages:,} passages"
    )


def _tell(response: Message, text: str, console: Console, is_json: bool) -> None:
    if is_json:
        print(as_json(response))
    else:
        console.print(text, soft_wrap=True, highlight=False)
