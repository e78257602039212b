"""The append-only log of a collection: every acknowledged write, documents with their passages and vectors.

Frames that are written together are a group and reach the disk by one fsync. A frame that is damaged at the end of
the file was never acknowledged and is dropped; one that is followed by a later group was, and then the log is corrupt.

Only erasing changes what was written. What it will write lies in a file of its own before it begins, so that it is
finished whenever it is killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from services.retriever import durable, failpoint
from services.retriever.record import (
    FILE_NAME,
    HEADER,
    MAGIC,
    Erased,
    Frame,
    Location,
    Record,
    UnknownKind,
    Upsert,
    decode,
    encode,
    pack,
    parse,
    read_frame,
)

ERASING_NAME = "erasing.json"


class CorruptLog(Exception):
    """An acknowledged record cannot be read. Names the file and the offset."""


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
                self.end = frame.location.end
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
            frames.append(pack(encode(record), group))
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
            frame = read_frame(self._descriptor, offset)
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
            record = encode(Erased(**fields), length - HEADER.size)
            _write(self._descriptor, pack(record, group), offset)
            failpoint.reach("erase.written")
        os.fsync(self._descriptor)
        failpoint.reach("erase.synced")
        self._erasing_path.unlink()
        failpoint.reach("erase.forgotten")
        durable.sync_directory(self._erasing_path.parent)

    def _whole_frame_at(self, location: Location) -> Frame:
        frame = parse(os.pread(self._descriptor, location.length, location.offset), location.offset)
        if frame is None:
            raise self._damaged(location.offset)
        return frame

    def _damaged(self, offset: int) -> CorruptLog:
        return CorruptLog(f"{self._path}: the record at {offset} is damaged")

    def _decoded(self, frame: Frame) -> Record:
        try:
            return decode(frame.record)
        except UnknownKind as error:
            raise CorruptLog(f"{self._path}: the record at {frame.location.offset} {error}") from None

    def _frames(self) -> Iterator[Frame]:
        """Whole frames up to the first that is not. Raises CorruptLog if that one had been acknowledged."""
        offset = 0
        while frame := read_frame(self._descriptor, offset):
            yield frame
            offset += frame.location.length
        if any(later.group > offset for later in self._frames_after(offset)):
            raise self._damaged(offset)

    def _frames_after(self, offset: int) -> Iterator[Frame]:
        size = os.fstat(self._descriptor).st_size
        if offset < size:
            tail = os.pread(self._descriptor, size - offset, offset)
            found = tail.find(MAGIC, 1)
            while found >= 0:
                if frame := read_frame(self._descriptor, offset + found):
                    yield frame
                found = tail.find(MAGIC, found + 1)

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self.end)
        os.fsync(self._descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
