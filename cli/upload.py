"""Documents on their way to the indexer: sent, acknowledged or refused one by one, then published together."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from cli.connection import calling, open_channel
from cli.documents import Source, Unreadable, read_document
from trivium.v1 import indexer_pb2, indexer_pb2_grpc

TIMEOUT_S = 86_400.0
"""For each call: an ingest may take hours. The indexer cuts it to its own longest deadline."""


@dataclass
class Summary:
    """What an upload did, file by file."""

    collection: str
    outcomes: Counter[str] = field(default_factory=Counter)
    """How many documents were created, updated, unchanged, rejected."""
    rejections: dict[str, str] = field(default_factory=dict)
    """Why, by path."""
    num_passages: int = 0
    """Passages of the documents that were accepted."""
    index_version: int = 0
    """The version that holds them. 0 when nothing was accepted."""

    @property
    def num_finished(self) -> int:
        """Files that are done, one way or the other."""
        return self.outcomes.total()

    def reject(self, source: Source, reason: str) -> None:
        """Count and name a file that was not stored."""
        self.outcomes["rejected"] += 1
        self.rejections[os.fsencode(source.path).decode(errors="replace")] = reason

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        counts = {name: self.outcomes[name] for name in ("created", "updated", "unchanged", "rejected")}
        return {
            "collection": self.collection,
            **counts,
            "num_passages": self.num_passages,
            "index_version": self.index_version,
            "rejections": [{"path": path, "reason": reason} for path, reason in self.rejections.items()],
        }


OnProgress = Callable[[Summary], None]


def upload(
    address: str, sources: Iterable[Source], collection: str, language: str | None, on_progress: OnProgress
) -> Summary:
    """Store every document that the sources hold and publish them.

    What is refused is in the summary and the rest go on. Raises CallFailed when the indexer cannot be reached
    or refuses the whole. `language` is that of a new collection (default `en`); for one that exists it must
    be the same.
    """
    summary = Summary(collection)
    with calling("indexer", address), open_channel(address) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        _ensure_collection(stub, collection, language)
        _Upload(stub, summary, on_progress).send(sources)
        if summary.num_finished > summary.outcomes["rejected"]:
            request = indexer_pb2.PublishVersionRequest(collection=collection)
            summary.index_version = stub.PublishVersion(request, timeout=TIMEOUT_S).index_version
    return summary


def _ensure_collection(stub: indexer_pb2_grpc.IndexerServiceStub, collection: str, language: str | None) -> None:
    if language is None and _exists(stub, collection):
        return
    analyzer = indexer_pb2.Analyzer(language=language or "")
    request = indexer_pb2.CreateCollectionRequest(name=collection, analyzer=analyzer)
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


class _Upload:
    """One stream of documents. The indexer reads it no faster than it works, which bounds what is sent.

    gRPC's own thread reads the files; only this one touches the summary. (An aio client would report INTERNAL
    in place of the server's status when that ends a stream which is still being written: grpc/grpc#36066.)
    """

    def __init__(self, stub: indexer_pb2_grpc.IndexerServiceStub, summary: Summary, on_progress: OnProgress) -> None:
        self._stub, self._summary, self._on_progress = stub, summary, on_progress
        self._source_by_id: dict[str, Source] = {}
        self._unreadable: deque[tuple[Source, str]] = deque()

    def send(self, sources: Iterable[Source]) -> None:
        for response in self._stub.UpsertDocuments(self._requests(sources), timeout=TIMEOUT_S):
            self._note(response)
            self._note_unreadable()
        self._note_unreadable()

    def _requests(self, sources: Iterable[Source]) -> Iterator[indexer_pb2.UpsertDocumentsRequest]:
        for source in sources:
            earlier = self._source_by_id.setdefault(source.document_id, source)
            try:
                if earlier.path != source.path:
                    raise Unreadable(f"has the same document id as {earlier.path}")
                document = read_document(source)
            except Unreadable as error:
                self._unreadable.append((source, str(error)))
            except Exception as error:  # of a parser: one file must not end the others' stream
                self._unreadable.append((source, f"cannot be parsed ({type(error).__name__})"))
            else:
                yield indexer_pb2.UpsertDocumentsRequest(collection=self._summary.collection, document=document)

    def _note(self, response: indexer_pb2.UpsertDocumentsResponse) -> None:
        if response.outcome == indexer_pb2.UPSERT_OUTCOME_REJECTED:
            reason = filter(None, (response.rejection.field, response.rejection.description))
            self._summary.reject(self._source_by_id[response.document_id], ": ".join(reason))
        else:
            name = indexer_pb2.UpsertOutcome.Name(response.outcome).removeprefix("UPSERT_OUTCOME_")
            self._summary.outcomes[name.lower()] += 1
            self._summary.num_passages += response.num_passages
        self._on_progress(self._summary)

    def _note_unreadable(self) -> None:
        while self._unreadable:
            self._summary.reject(*self._unreadable.popleft())
            self._on_progress(self._summary)
