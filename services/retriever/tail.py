"""The end of a collection's log, as a reader follows it while the writer appends."""

from __future__ import annotations

import os
from pathlib import Path

from services.retriever.record import HEADER, Frame, Record, UnknownKind, decode, read_frame

BATCH_BYTES = 64 << 20
"""About so much of the log is read at once."""


class Rewritten(Exception):
    """What was read is no longer there: it had not been acknowledged."""


class Tail:
    """Reads from an offset on. Used by one thread at a time."""

    def __init__(self, path: Path, begin: int) -> None:
        self._path = path
        self.end = begin
        """The offset after what was read."""
        self._last: tuple[int, bytes] | None = None
        """Offset and header of the frame that was read last."""
        self._looked_at: tuple[int, int] | None = None
        """Size and time of the file when it was read last."""

    def read(self) -> list[Record]:
        """Some of the records that were not read yet, oldest first; empty when there are none.

        A frame that is not whole may be in the making, and is looked at again. Raises Rewritten, UnknownKind, OSError.
        Blocks.
        """
        try:
            status = self._path.stat()
            if (status.st_size, status.st_mtime_ns) == self._looked_at:
                return []
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:  # versions may lie where no log does
            return []
        try:
            self._require_last(descriptor)
            records, frames = self._read(descriptor)
        finally:
            os.close(descriptor)
        if frames:
            self._last, self.end = (frames[-1].location.offset, frames[-1].header), frames[-1].location.end
        else:
            self._looked_at = (status.st_size, status.st_mtime_ns)
        return records

    def _read(self, descriptor: int) -> tuple[list[Record], list[Frame]]:
        records: list[Record] = []
        frames: list[Frame] = []
        end = self.end
        while end - self.end < BATCH_BYTES and (frame := read_frame(descriptor, end)):
            try:
                records.append(decode(frame.record))
            except UnknownKind:
                if records:
                    break  # those before it can be understood
                raise
            frames.append(frame)
            end = frame.location.end
        return records, frames

    def _require_last(self, descriptor: int) -> None:
        if self._last is None:
            return
        offset, header = self._last
        if os.pread(descriptor, HEADER.size, offset) != header:
            raise Rewritten
