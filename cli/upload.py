"""Documents on their way to the indexer: those that differ are sent, acknowledged or refused one by one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from cli.collection import TIMEOUT_S, delete_all
from cli.connection import calling, open_channel, wait_until_serving
from cli.reading.read import Reading
from cli.summary import NearDuplicate, Summary
from trivium.v1 import indexer_pb2, indexer_pb2_grpc, metadata_pb2

OnProgress = Callable[[Summary], None]


class Comparison(Protocol):
    """Finds near-duplicates."""

    def seen(self, document_id: str, text: str) -> str | None:
        """The earlier document that this one nearly equals."""
        ...


@dataclass(frozen=True)
class Upload:
    """Where documents go, and how."""

    address: str
    collection: str = "default"
    language: str | None = None
    """That of a new collection (default `en`); for one that exists it must be the same."""
    wait_s: float = 0.0
    """Seconds to wait for an indexer that does not serve yet."""
    prune: bool = False
    """Documents that the collection holds and nobody read are deleted."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Types of the metadata fields of a new collection, by name; one that exists keeps its own."""


def upload(target: Upload, readings: Iterable[Reading], comparison: Comparison, on_progress: OnProgress) -> Summary:
    """Store every document that the collection does not hold as it is, prune where that is wanted, and publish.

    What is refused is in the summary and the rest go on. Raises CallFailed when the indexer cannot be reached
    or refuses the whole.
    """
    summary = Summary(target.collection)
    if target.wait_s > 0:
        wait_until_serving("indexer", target.address, target.wait_s)
    with calling("indexer", target.address), open_channel(target.address) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        ensure_collection(stub, target)
        transfer = Transfer(stub, summary, comparison, on_progress)
        transfer.send(readings)
        if target.prune:
            prune(stub, summary, transfer.unread_ids())
        if summary.is_any_accepted:
            summary.is_publishing = True
            on_progress(summary)
            publish(stub, summary)
    return summary


def prune(stub: indexer_pb2_grpc.IndexerServiceStub, summary: Summary, unread_ids: list[str]) -> None:
    """What could not be read may be among them: then, and where there was nothing to read, all of them stay."""
    if summary.is_any_unread or not summary.is_any_accepted:
        summary.num_unpruned = len(unread_ids)
    else:
        summary.num_deleted = delete_all(stub, summary.collection, unread_ids)


def content_hash(document: indexer_pb2.Document) -> bytes:
    """The digest that `ListDocuments` gives of a stored document; the contract defines it (indexer.proto)."""
    return hashlib.sha256(document.SerializeToString(deterministic=True)).digest()


def publish(stub: indexer_pb2_grpc.IndexerServiceStub, summary: Summary) -> None:
    """Note the version that holds all. It is a new one when something has changed, or the published one is damaged."""
    request = indexer_pb2.PublishVersionRequest(collection=summary.collection)
    published = stub.PublishVersion(request, timeout=TIMEOUT_S)
    summary.index_version = published.index_version
    summary.num_published_documents = published.num_documents
    summary.num_published_passages = published.num_passages


def ensure_collection(stub: indexer_pb2_grpc.IndexerServiceStub, target: Upload) -> None:
    """Create the target's collection unless it is there. Raises grpc.RpcError."""
    if target.language is None and _exists(stub, target.collection):
        return
    analyzer = indexer_pb2.Analyzer(language=target.language or "")
    fields = [
        metadata_pb2.FieldDefinition(name=name, type=f"FIELD_TYPE_{kind.upper()}")
        for name, kind in target.fields.items()
    ]
    request = indexer_pb2.CreateCollectionRequest(name=target.collection, analyzer=analyzer, fields=fields)
    stub.CreateCollection(request, timeout=TIMEOUT_S)


def _exists(stub: indexer_pb2_grpc.IndexerServiceStub, collection: str) -> bool:
    try:
        stub.GetCollection(indexer_pb2.GetCollectionRequest(name=collection), timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        call: Any = error
        if call.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


@dataclass
class _File:
    """A file on disk that is not done."""

    num_unfinished: int = 1
    """Documents on their way, and one for as long as it is read."""


class Transfer:
    """One stream of documents. The indexer reads it no faster than it works, which bounds what is sent.

    gRPC's own thread takes the readings while the caller's takes the responses. (An aio client would report
    INTERNAL in place of the server's status when that ends a stream which is still being written: grpc/grpc#36066.)
    """

    def __init__(
        self,
        stub: indexer_pb2_grpc.IndexerServiceStub,
        summary: Summary,
        comparison: Comparison,
        on_progress: OnProgress,
    ) -> None:
        self._stub, self._summary = stub, summary
        self._comparison, self._on_progress = comparison, on_progress
        self._lock = threading.Lock()
        self._hash_by_id: dict[str, bytes] = {}
        """Of what the collection holds, and will hold of what was sent."""
        self._name_by_id: dict[str, str] = {}
        """Of what was read."""
        self._sent: dict[str, tuple[str, _File]] = {}
        """Name and file of what is on its way, by document id."""

    def send(self, readings: Iterable[Reading]) -> None:
        """Look at what is held, and send and note all that differs."""
        self.look()
        self.receive(self._stub.UpsertDocuments(self.requests(readings), timeout=TIMEOUT_S))

    def look(self) -> None:
        """Ask what the collection holds."""
        request = indexer_pb2.ListDocumentsRequest(collection=self._summary.collection)
        for held in self._stub.ListDocuments(request, timeout=TIMEOUT_S):
            self._hash_by_id[held.document_id] = bytes.fromhex(held.content_hash)

    def receive(self, responses: Iterable[indexer_pb2.UpsertDocumentsResponse]) -> None:
        """Note what became of everything that `requests` gave."""
        for response in responses:
            with self._lock:
                self._note(response)
                self._on_progress(self._summary)

    def unread_ids(self) -> list[str]:
        """Of what the collection holds and this transfer did not read."""
        return sorted(self._hash_by_id.keys() - self._name_by_id.keys())

    def requests(self, readings: Iterable[Reading]) -> Iterator[indexer_pb2.UpsertDocumentsRequest]:
        """Those documents that differ from what is held. The others are noted."""
        file = _File()
        for reading in readings:
            document = reading.document
            if document is not None:
                self._compare(reading.name, document)
            with self._lock:
                self._summary.note_reading(reading)
                is_sent = self._is_to_be_sent(reading, file)
            if is_sent:
                yield indexer_pb2.UpsertDocumentsRequest(collection=self._summary.collection, document=document)
            if reading.is_last:
                with self._lock:
                    self._finish(file)
                    self._on_progress(self._summary)
                file = _File()

    def _is_to_be_sent(self, reading: Reading, file: _File) -> bool:
        """Otherwise it is counted: rejected or unchanged."""
        document = reading.document
        if document is None:
            self._summary.is_any_unread = True
            self._summary.reject(reading.name, reading.reason)
            return False
        document_id, digest = document.document_id, content_hash(document)
        earlier = self._name_by_id.get(document_id)
        is_held = self._hash_by_id.get(document_id) == digest
        if earlier is not None and not (is_held and earlier == reading.name):
            self._summary.reject(reading.name, _clash(document_id, reading.name, earlier))
            return False
        self._name_by_id[document_id] = reading.name
        if is_held:
            self._summary.outcomes["unchanged"] += 1
            return False
        self._hash_by_id[document_id] = digest
        self._sent[document_id] = (reading.name, file)
        file.num_unfinished += 1
        return True

    def _compare(self, name: str, document: indexer_pb2.Document) -> None:
        text = "\n".join(section.text for section in document.sections)
        earlier = self._comparison.seen(document.document_id, text)
        if earlier is not None and earlier != document.document_id:
            self._summary.near_duplicates.append(NearDuplicate(name, document.document_id, earlier))

    def _note(self, response: indexer_pb2.UpsertDocumentsResponse) -> None:
        name, file = self._sent.pop(response.document_id)
        if response.outcome == indexer_pb2.UPSERT_OUTCOME_REJECTED:
            reason = filter(None, (response.rejection.field, response.rejection.description))
            self._summary.reject(name, ": ".join(reason))
        else:
            outcome = indexer_pb2.UpsertOutcome.Name(response.outcome).removeprefix("UPSERT_OUTCOME_")
            self._summary.outcomes[outcome.lower()] += 1
            self._summary.num_passages += response.num_passages
        self._finish(file)

    def _finish(self, file: _File) -> None:
        file.num_unfinished -= 1
        self._summary.num_files += file.num_unfinished == 0


def _clash(document_id: str, name: str, earlier: str) -> str:
    if name == earlier:
        return f"holds two documents of one id: {document_id}"
    return f"has the same document id as {earlier}: {document_id}"
