"""What the files of a collection really hold: every hash and checksum, and where deleted documents still are."""

from __future__ import annotations

from collections.abc import Collection as Several
from dataclasses import dataclass

from services.retriever.collection import Collection, CorruptPointer
from services.retriever.indexer import versions
from services.retriever.indexer.log import CorruptLog, Log
from services.retriever.manifest import CorruptVersion, UnreadableIndex
from services.retriever.record import Location, Record, Upsert
from services.retriever.sparse import SparseIndex
from services.retriever.version import open_legs

BLOCK = 1_000
"""Passages that are read at once."""


@dataclass(frozen=True)
class LogFinding:
    """What is in the log's file."""

    num_records: int
    """Whole ones, up to the fault if there is one."""
    fault: str
    """What is damaged, and where. Empty when nothing is."""
    held: frozenset[str]
    """Of the deleted documents, those whose text and vectors are in it."""


@dataclass(frozen=True)
class VersionFinding:
    """What is in a version's files."""

    index_version: int
    fault: str
    """Which file is not as it was written. Empty when all are."""
    held: frozenset[str]
    """Of the deleted documents, those that it has passages of; none where it is damaged."""


def scan_log(log: Log, log_end: int, deleted_at: dict[str, int]) -> LogFinding:
    """Read every record up to `log_end`. `deleted_at` is where each document's deletion stands. Blocks.

    What cannot be read is a fault like any other.
    """
    num_records, held = 0, set[str]()

    def note(location: Location, record: Record) -> None:
        nonlocal num_records
        num_records += 1
        if isinstance(record, Upsert) and location.offset < deleted_at.get(record.document_id, -1):
            held.add(record.document_id)

    try:
        log.scan(log_end, note)
    except (CorruptLog, OSError) as error:
        return LogFinding(num_records, str(error), frozenset(held))
    return LogFinding(num_records, "", frozenset(held))


def scan_version(collection: Collection, index_version: int, deleted: Several[str]) -> VersionFinding:
    """Verify every file, open both legs, and read every passage. Raises NoSuchVersion. Blocks."""
    try:
        described = versions.read(collection, index_version)
        _, sparse = open_legs(collection.version_path(index_version), described)
        held = {document_id for document_id in _document_ids(sparse) if document_id in deleted}
    except (CorruptPointer, CorruptVersion, UnreadableIndex, OSError) as error:
        return VersionFinding(index_version, str(error), frozenset())
    return VersionFinding(index_version, "", frozenset(held))


def _document_ids(sparse: SparseIndex) -> set[str]:
    return {
        passage.document_id
        for begin in range(0, sparse.num_passages, BLOCK)
        for passage in sparse.passages(range(begin, min(begin + BLOCK, sparse.num_passages)))
    }
