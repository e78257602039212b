"""`trivium collection import`: a FAISS file and its passages become a version like any other."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from cli.bulk.failure import BulkFailed, disk_errors
from cli.bulk.faiss_file import FaissVectors, read_vectors
from cli.bulk.passages import Fields, Row, by_document, read_rows
from cli.bulk.progress import Stages, stages_shown
from cli.collection import TIMEOUT_S
from cli.connection import calling, open_channel
from cli.ingest import show_published
from cli.reading.limits import MAX_MESSAGE_BYTES, MAX_SECTIONS
from cli.summary import Summary
from cli.upload import Upload, ensure_collection, publish
from trivium.v1 import indexer_pb2, indexer_pb2_grpc

NUM_CHECKED = 64
"""Documents whose vectors are made again before anything is stored, evenly over all."""
METRIC = "inner_product"
MAX_NAMED = 20

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """An index that exists."""

    index: Path
    """A FAISS file."""
    passages: Path
    """JSON Lines, or a folder of `datasets`."""
    fields: Fields


@dataclass
class Imported:
    """What an import did."""

    summary: Summary
    num_checked: int = 0
    """Documents whose vectors were made again before anything was stored."""
    num_long_passages: int = 0
    """Passages of which the encoder does not read the end."""


def import_index(target: Upload, source: Source, folder: Path | None, as_json: bool) -> bool:
    """Check, store and publish the index. True when nothing was rejected. Raises BulkFailed, CallFailed."""
    with (
        stages_shown() as stages,
        disk_errors(folder or Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(dir=folder, prefix="trivium-import-") as scratch,
    ):
        imported = import_from(target, source, Path(scratch), stages)
    if as_json:
        print(json.dumps(to_dict(imported), ensure_ascii=False))
    else:
        _show(imported, Console())
    return not imported.summary.rejections


def import_from(target: Upload, source: Source, folder: Path, stages: Stages) -> Imported:
    """Vectors lie in the folder meanwhile, as a file."""
    stages.begin("reading the index", 0, "")
    found = read_vectors(source.index, folder)
    if found.metric != METRIC:
        raise BulkFailed("METRIC_MISMATCH", f"{source.index}: its metric is {found.metric}; ours is {METRIC}")
    num_documents = _count(source, found, stages)
    vectors = found.load()
    imported = Imported(Summary(target.collection))
    with calling("indexer", target.address), open_channel(target.address) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        ensure_collection(stub, target)
        request = indexer_pb2.GetCollectionRequest(name=target.collection)
        _require_dimension(found, stub.GetCollection(request, timeout=TIMEOUT_S).dimension)
        send = _Sending(stub, target.collection, source, vectors)
        imported.num_checked = send.check(num_documents, stages)
        send.store(imported, found.count, stages)
        stages.begin("publishing", 0, "")
        if imported.summary.is_any_accepted:
            publish(stub, imported.summary)
    return imported


def _count(source: Source, found: FaissVectors, stages: Stages) -> int:
    """How many documents there are, once there are as many passages as vectors."""
    stages.begin("reading passages", found.count, "passages")
    num_rows = num_documents = 0
    seen: set[str] = set()
    for rows in by_document(stages.counted(read_rows(source.passages, source.fields))):
        num_documents += 1
        num_rows += len(rows)
        _require_sendable(rows, found.dimension)
        if not rows[0].is_numbered:
            _require_new(seen, rows[0])
    if num_rows != found.count:
        raise BulkFailed(
            "COUNT_MISMATCH", f"{source.passages} holds {num_rows:,} passages, {source.index} {found.count:,} vectors"
        )
    return num_documents


def _require_sendable(rows: list[Row], dimension: int) -> None:
    num_bytes = sum(4 * dimension + 4 * len(row.text) for row in rows)
    if len(rows) > 1 and (num_bytes > MAX_MESSAGE_BYTES or len(rows) > MAX_SECTIONS):
        raise BulkFailed(
            "DOCUMENT_TOO_LARGE",
            f"{rows[0].document_id}: {len(rows):,} passages of one id do not fit a message; give them several ids",
        )


def _require_new(seen: set[str], row: Row) -> None:
    if row.document_id in seen:
        raise BulkFailed(
            "DUPLICATE_ID",
            f"row {row.number:,}: the id {row.document_id!r} was that of earlier rows, with others between",
        )
    seen.add(row.document_id)


def _require_dimension(found: FaissVectors, dimension: int) -> None:
    if found.dimension != dimension:
        raise BulkFailed(
            "DIMENSION_MISMATCH",
            f"the index's vectors have dimension {found.dimension:,}, those of the indexer's encoder {dimension:,}",
        )


@dataclass(frozen=True)
class _Sending:
    """The documents of a source on their way to the indexer."""

    stub: indexer_pb2_grpc.IndexerServiceStub
    collection: str
    source: Source
    vectors: Vectors

    def check(self, num_documents: int, stages: Stages) -> int:
        """Have a sample's vectors made again; nothing is stored. How many documents that was. Raises BulkFailed."""
        num_checked = min(NUM_CHECKED, num_documents)
        chosen = {number * num_documents // num_checked for number in range(num_checked)}
        stages.begin("checking", num_checked, "documents")
        documents = (rows for number, rows in enumerate(self._documents()) if number in chosen)
        for number, response in enumerate(self._send(documents, check_only=True), 1):
            self._require_like(response, "nothing was stored")
            if response.outcome == indexer_pb2.UPSERT_OUTCOME_REJECTED:
                raise BulkFailed("PASSAGE_REJECTED", f"{_reason(response)}; nothing was stored")
            stages.stored(number)
        return num_checked

    def store(self, imported: Imported, num_passages: int, stages: Stages) -> None:
        """Raises BulkFailed when a later sample shows that vectors are of something else."""
        summary = imported.summary
        stages.begin("storing", num_passages, "passages")
        for response in self._send(self._documents(), check_only=False):
            num_stored = summary.outcomes.total() - summary.outcomes["rejected"]
            self._require_like(response, f"{num_stored:,} documents are stored already")
            if response.outcome == indexer_pb2.UPSERT_OUTCOME_REJECTED:
                summary.reject(response.document_id, _reason(response))
            else:
                outcome = indexer_pb2.UpsertOutcome.Name(response.outcome).removeprefix("UPSERT_OUTCOME_")
                summary.outcomes[outcome.lower()] += 1
            summary.num_passages += response.num_passages
            imported.num_long_passages += response.num_long_passages
            stages.stored(summary.num_passages)

    def _documents(self) -> Iterator[list[Row]]:
        return by_document(read_rows(self.source.passages, self.source.fields))

    def _send(self, documents: Iterable[list[Row]], check_only: bool) -> Iterator[indexer_pb2.UpsertDocumentsResponse]:
        requests = (
            indexer_pb2.UpsertDocumentsRequest(
                collection=self.collection, encoded=_encoded(rows, self.vectors), check_only=check_only
            )
            for rows in documents
        )
        return self.stub.UpsertDocuments(requests, timeout=TIMEOUT_S)

    def _require_like(self, response: indexer_pb2.UpsertDocumentsResponse, state: str) -> None:
        if response.rejection.field == "encoded.vectors":
            raise BulkFailed("VECTORS_MISMATCH", f"{response.document_id}: {_reason(response)}; {state}")


def _encoded(rows: list[Row], vectors: Vectors) -> indexer_pb2.EncodedDocument:
    first = rows[0]
    sections = [indexer_pb2.Section(text=row.text, uri=row.uri if row.uri != first.uri else "") for row in rows]
    return indexer_pb2.EncodedDocument(
        document=indexer_pb2.Document(
            document_id=first.document_id, title=first.title, uri=first.uri, sections=sections
        ),
        vectors=np.ascontiguousarray(vectors[first.number : rows[-1].number + 1], dtype="<f4").tobytes(),
    )


def _reason(response: indexer_pb2.UpsertDocumentsResponse) -> str:
    return ": ".join(filter(None, (response.rejection.field, response.rejection.description)))


def to_dict(imported: Imported) -> dict[str, object]:
    """For `--json`."""
    summary = imported.summary.to_dict()
    names = ("collection", "created", "updated", "unchanged", "rejected", "num_passages", "index_version")
    published = ("num_published_documents", "num_published_passages", "rejections")
    return {
        **{name: summary[name] for name in (*names, *published)},
        "num_checked": imported.num_checked,
        "num_long_passages": imported.num_long_passages,
    }


def _show(imported: Imported, console: Console) -> None:
    summary = imported.summary
    for document_id, reason in summary.rejections[:MAX_NAMED]:
        console.print(f"[red]rejected[/] {escape(document_id)}: {escape(reason)}", soft_wrap=True, highlight=False)
    counts = ", ".join(f"{summary.outcomes[name]:,} {name}" for name in ("created", "updated", "unchanged", "rejected"))
    console.print(f"documents: {counts}; of {imported.num_checked:,} vectors were made again first", highlight=False)
    if imported.num_long_passages:
        line = f"[yellow]{imported.num_long_passages:,} passages are longer than the encoder reads[/]"
        console.print(f"{line}: vectors know only their beginning", highlight=False, soft_wrap=True)
    if summary.index_version:
        show_published(summary, console)
