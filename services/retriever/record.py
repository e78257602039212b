"""What the log is written in: records, each in a frame that tells whether it is whole.

A frame is one record: magic, length, crc32, where its group began, then the record. Frames that are written together
are a group.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.retriever import metadata
from services.retriever.metadata import Metadata
from services.retriever.passage import Passage

FILE_NAME = "000001.log"
MAGIC = b"TRV1"
HEADER = struct.Struct("<4sIIQ")
"""Magic, length of the record in bytes, crc32 of (group, record), offset at which the group begins."""
LENGTHS = struct.Struct("<II")
"""Bytes of the record's JSON and of its vectors."""
UPSERT, UPSERT_WITH_METADATA = "upsert/1", "upsert/2"
ERASED, DELETE, ROLLBACK = "erased/1", "delete/1", "rollback/1"
KINDS = (UPSERT, UPSERT_WITH_METADATA, ERASED, DELETE, ROLLBACK)
"""What a record is and how it is written. Change the number when that changes: a reader refuses another."""


class UnknownKind(Exception):
    """A whole record that other software wrote."""


@dataclass(frozen=True)
class Upsert:
    """A document as it was stored: passages, and one vector each (float32, shape (passages, dimension))."""

    document_id: str
    content_hash: str
    made_by: str
    """Digest of encoder and splitter."""
    passages: tuple[Passage, ...]
    vectors: NDArray[np.float32]

    @property
    def metadata(self) -> Metadata:
        """All passages have the document's."""
        return self.passages[0].metadata if self.passages else {}


@dataclass(frozen=True)
class Erased:
    """A document whose passages and vectors were in the log until they were erased."""

    document_id: str
    made_by: str
    num_passages: int


@dataclass(frozen=True)
class Delete:
    """Documents that are gone."""

    document_ids: tuple[str, ...]


@dataclass(frozen=True)
class Rollback:
    """Documents are as they were when the log ended at `log_end`, but for those that were deleted since."""

    log_end: int


Record = Upsert | Erased | Delete | Rollback


@dataclass(frozen=True)
class Location:
    """Where a frame stands."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.offset + self.length


@dataclass(frozen=True)
class Frame:
    """A record that is whole, where it stands, and the offset at which its group begins."""

    location: Location
    group: int
    record: bytes

    @property
    def header(self) -> bytes:
        """The bytes before the record."""
        return HEADER.pack(MAGIC, len(self.record), _crc(self.record, self.group), self.group)


def read_frame(descriptor: int, offset: int) -> Frame | None:
    """The frame that begins there; None where there is no whole one. Blocks."""
    header = os.pread(descriptor, HEADER.size, offset)
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        return None
    length = HEADER.unpack(header)[1]
    if offset + HEADER.size + length > os.fstat(descriptor).st_size:
        return None
    return parse(os.pread(descriptor, HEADER.size + length, offset), offset)


def pack(record: bytes, group: int) -> bytes:
    """The frame of an encoded record."""
    return HEADER.pack(MAGIC, len(record), _crc(record, group), group) + record


def parse(data: bytes, offset: int) -> Frame | None:
    """The frame that these bytes are; None when they are damaged."""
    if len(data) < HEADER.size:
        return None
    magic, length, crc, group = HEADER.unpack_from(data)
    record = data[HEADER.size :]
    if magic != MAGIC or length != len(record) or crc != _crc(record, group):
        return None
    return Frame(Location(offset, len(data)), group, record)


def _crc(record: bytes, group: int) -> int:
    return zlib.crc32(record, zlib.crc32(group.to_bytes(8, "little")))


def encode(record: Record, min_length: int = 0) -> bytes:
    """The record's bytes. `min_length` fills up with zeros, which stand where vectors would."""
    text = json.dumps(_fields(record), ensure_ascii=False, separators=(",", ":")).encode()
    if isinstance(record, Upsert):
        vectors = np.ascontiguousarray(record.vectors, dtype="<f4").tobytes()
    else:
        vectors = bytes(max(0, min_length - LENGTHS.size - len(text)))
    return LENGTHS.pack(len(text), len(vectors)) + text + vectors


def _fields(record: Record) -> dict[str, Any]:
    match record:
        case Erased():
            return {"kind": ERASED, **asdict(record)}
        case Delete(document_ids):
            return {"kind": DELETE, "document_ids": document_ids}
        case Rollback(log_end):
            return {"kind": ROLLBACK, "log_end": log_end}
        case Upsert():
            return _fields_of_document(record)


def _fields_of_document(record: Upsert) -> dict[str, Any]:
    """What passages share is written once: a record is in proportion to its document."""
    number_by_place: dict[tuple[str, tuple[str, ...], str], int] = {}
    passages = []
    for passage in record.passages:
        place = (passage.title, passage.heading_path, passage.uri)
        number = number_by_place.setdefault(place, len(number_by_place))
        passages.append([passage.passage_id, number, passage.text, passage.page, passage.start, passage.end])
    common = metadata.to_json(record.metadata)
    return {
        **({"kind": UPSERT_WITH_METADATA, "metadata": common} if common else {"kind": UPSERT}),
        "document_id": record.document_id,
        "content_hash": record.content_hash,
        "made_by": record.made_by,
        "places": list(number_by_place),
        "passages": passages,
    }


def decode(data: bytes) -> Record:
    """The record that `encode` wrote. Raises UnknownKind."""
    text_length, _ = LENGTHS.unpack_from(data)
    fields = json.loads(data[LENGTHS.size : LENGTHS.size + text_length])
    kind = fields.get("kind")
    if kind in (UPSERT, UPSERT_WITH_METADATA):
        return _document(fields, np.frombuffer(data, dtype="<f4", offset=LENGTHS.size + text_length))
    if kind == ERASED:
        return Erased(fields["document_id"], fields["made_by"], fields["num_passages"])
    if kind == DELETE:
        return Delete(tuple(fields["document_ids"]))
    if kind == ROLLBACK:
        return Rollback(fields["log_end"])
    raise UnknownKind(f"is of kind {kind}, this software reads {', '.join(KINDS)}")


def _document(fields: Mapping[str, Any], vectors: NDArray[np.float32]) -> Upsert:
    places = [(title, tuple(heading_path), uri) for title, heading_path, uri in fields["places"]]
    common = metadata.from_json(fields.get("metadata", {}))
    passages = tuple(
        Passage(passage_id, fields["document_id"], title, heading_path, text, uri, page, start, end, common)
        for passage_id, number, text, page, start, end in fields["passages"]
        for title, heading_path, uri in [places[number]]
    )
    return Upsert(
        fields["document_id"],
        fields["content_hash"],
        fields["made_by"],
        passages,
        vectors.reshape(len(passages), -1).astype(np.float32, copy=False),
    )
