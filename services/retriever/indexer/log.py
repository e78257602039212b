"""The append-only log of a collection: every acknowledged write, documents with their passages and vectors.

A frame is one record: magic, length, crc32, where its group began, then the record. Frames that are written
together are a group and reach the disk by one fsync. A frame that is damaged at the end of the file was never
acknowledged and is dropped; one that is followed by a later group was, and then the log is corrupt.

Only erasing changes what was written. What it will write lies in a file of its own before it begins, so that it is
finished whenever it is killed.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.retriever import durable, failpoint, metadata
from services.retriever.metadata import Metadata
from services.retriever.passage import Passage

MAGIC = b"TRV1"
HEADER = struct.Struct("<4sIIQ")
"""Magic, length of the record in bytes, crc32 of (group, record), offset at which the group begins."""
LENGTHS = struct.Struct("<II")
"""Bytes of the record's JSON and of its vectors."""
FILE_NAME = "000001.log"
ERASING_NAME = "erasing.json"
UPSERT, UPSERT_WITH_METADATA = "upsert/1", "upsert/2"
ERASED, DELETE, ROLLBACK = "erased/1", "delete/1", "rollback/1"
KINDS = (UPSERT, UPSERT_WITH_METADATA, ERASED, DELETE, ROLLBACK)
"""What a record is and how it is written. Change the number when that changes: a reader refuses another."""


class CorruptLog(Exception):
    """An acknowledged record cannot be read. Names the file and the offset."""


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


@dataclass(frozen=True)
class _Frame:
    location: Location
    group: int
    record: bytes


class Log:
    """One collection's. Appends come from one thread at a time; reads from any."""

    def __init__(self, directory: Path, replay: Callable[[Location, Record], None]) -> None:
        """Open it, or begin it; `replay` gets every record, oldest first. What a crash left at its end is dropped.

        Raises CorruptLog, OSError. Blocks.
        """
        self._path = directory / FILE_NAME
        self._erasing_path = directory / ERASING_NAME
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        self.end = 0
        """Offset after the last acknowledged frame."""
        try:
            durable.sync_directory(directory)
            self._finish_erasing()
            for frame in self._frames():
                replay(frame.location, self._decoded(frame))
                self.end = frame.location.offset + frame.location.length
            self._cut()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._descriptor)

    def append(self, records: Sequence[Record]) -> list[Location]:
        """Write records as one group; on disk when this returns. Blocks.

        Raises OSError; then none of them is in the log.
        """
        group, offset, locations, frames = self.end, self.end, [], []
        for record in records:
            frames.append(_frame(_encode(record), group))
            locations.append(Location(offset, len(frames[-1])))
            offset += len(frames[-1])
        try:
            failpoint.reach("append.begun")
            _write(self._descriptor, b"".join(frames), group)
            failpoint.reach("append.written")
            os.fsync(self._descriptor)
            failpoint.reach("append.synced")
        except OSError:
            self._cut()
            raise
        self.end = offset
        return locations

    def read(self, location: Location) -> Upsert:
        """The document there. Raises CorruptLog. Blocks."""
        record = self._decoded(self._whole_frame_at(location))
        if not isinstance(record, Upsert):
            raise CorruptLog(f"{self._path}: the record at {location.offset} is no document")
        return record

    def scan(self, log_end: int, visit: Callable[[Location, Record], None]) -> None:
        """Read every record up to there from the file, oldest first. Raises CorruptLog, OSError. Blocks."""
        offset = 0
        while offset < log_end:
            frame = self._frame_at(offset)
            if frame is None:
                raise self._damaged(offset)
            visit(frame.location, self._decoded(frame))
            offset += frame.location.length

    def erase(self, locations: Sequence[Location]) -> None:
        """Overwrite the documents there; each stays as an `Erased` of the same length. Blocks.

        Raises CorruptLog, OSError; what had begun is finished by the next call, or when the log is opened next.
        """
        self._finish_erasing()
        erasing = []
        for location in locations:
            frame = self._whole_frame_at(location)
            record = self._decoded(frame)
            if isinstance(record, Upsert):
                erased = Erased(record.document_id, record.made_by, len(record.passages))
                erasing.append({"group": frame.group, **asdict(location), **asdict(erased)})
        durable.replace(self._erasing_path, json.dumps(erasing).encode())
        failpoint.reach("erase.planned")
        self._finish_erasing()

    def _finish_erasing(self) -> None:
        try:
            erasing = json.loads(self._erasing_path.read_bytes())
        except FileNotFoundError:
            return
        for fields in erasing:
            group, offset, length = (fields.pop(name) for name in ("group", "offset", "length"))
            record = _encode(Erased(**fields), length - HEADER.size)
            _write(self._descriptor, _frame(record, group), offset)
            failpoint.reach("erase.written")
        os.fsync(self._descriptor)
        failpoint.reach("erase.synced")
        self._erasing_path.unlink()
        failpoint.reach("erase.forgotten")
        durable.sync_directory(self._erasing_path.parent)

    def _whole_frame_at(self, location: Location) -> _Frame:
        frame = _parse(os.pread(self._descriptor, location.length, location.offset), location.offset)
        if frame is None:
            raise self._damaged(location.offset)
        return frame

    def _damaged(self, offset: int) -> CorruptLog:
        return CorruptLog(f"{self._path}: the record at {offset} is damaged")

    def _decoded(self, frame: _Frame) -> Record:
        try:
            return _decode(frame.record)
        except UnknownKind as error:
            raise CorruptLog(f"{self._path}: the record at {frame.location.offset} {error}") from None

    def _frames(self) -> Iterator[_Frame]:
        """Whole frames up to the first that is not. Raises CorruptLog if that one had been acknowledged."""
        offset = 0
        while frame := self._frame_at(offset):
            yield frame
            offset += frame.location.length
        if any(later.group > offset for later in self._frames_after(offset)):
            raise self._damaged(offset)

    def _frame_at(self, offset: int) -> _Frame | None:
        header = os.pread(self._descriptor, HEADER.size, offset)
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            return None
        length = HEADER.unpack(header)[1]
        if offset + HEADER.size + length > os.fstat(self._descriptor).st_size:
            return None
        return _parse(os.pread(self._descriptor, HEADER.size + length, offset), offset)

    def _frames_after(self, offset: int) -> Iterator[_Frame]:
        size = os.fstat(self._descriptor).st_size
        if offset < size:
            tail = os.pread(self._descriptor, size - offset, offset)
            found = tail.find(MAGIC, 1)
            while found >= 0:
                if frame := self._frame_at(offset + found):
                    yield frame
                found = tail.find(MAGIC, found + 1)

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self.end)
        os.fsync(self._descriptor)


def _frame(record: bytes, group: int) -> bytes:
    return HEADER.pack(MAGIC, len(record), _crc(record, group), group) + record


def _parse(data: bytes, offset: int) -> _Frame | None:
    """The frame that these bytes are; None when they are damaged."""
    if len(data) < HEADER.size:
        return None
    magic, length, crc, group = HEADER.unpack_from(data)
    record = data[HEADER.size :]
    if magic != MAGIC or length != len(record) or crc != _crc(record, group):
        return None
    return _Frame(Location(offset, len(data)), group, record)


def _crc(record: bytes, group: int) -> int:
    return zlib.crc32(record, zlib.crc32(group.to_bytes(8, "little")))


def _encode(record: Record, min_length: int = 0) -> bytes:
    """`min_length` fills up with zeros, which stand where vectors would."""
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


def _decode(data: bytes) -> Record:
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


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
