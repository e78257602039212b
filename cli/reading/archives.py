"""Archives, read member by member in memory: nothing is ever written, so names in them can do no harm."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, cast

from cli.reading.kinds import KIND_BY_SUFFIX, Kind, suffix_of
from cli.reading.limits import MAX_MEMBER_BYTES
from cli.reading.options import ReadOptions
from cli.reading.parsed import Unreadable

MIN_BOMB_BYTES = 32 << 20
"""What unpacks to less is never taken for a bomb, whatever its ratio."""
_STEP_BYTES = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)


@dataclass(frozen=True)
class Member:
    """A file in an archive. `file` is None where it cannot be had, for `reason`. No name: the archive itself."""

    name: str
    file: BinaryIO | None
    reason: str = ""


class Budget:
    """What an archive on disk may still unpack to, with all archives inside it."""

    def __init__(self, options: ReadOptions, archive_bytes: int) -> None:
        """`archive_bytes` is the size of the archive on disk."""
        self._max_bytes = min(options.max_archive_bytes, max(MIN_BOMB_BYTES, options.max_archive_ratio * archive_bytes))
        self._max_members = options.max_archive_members
        self._max_depth = options.max_archive_depth
        self._depth = 1
        self._spent: Counter[str] = Counter()

    def deeper(self) -> Budget:
        """The same budget, for an archive one level further in. Raises Unreadable."""
        if self._depth >= self._max_depth:
            raise Unreadable(f"is an archive {self._depth} archives deep, at most {self._max_depth - 1} are opened")
        inner = copy.copy(self)
        inner._depth += 1
        return inner

    def take_bytes(self, num_bytes: int) -> None:
        """Raises Unreadable."""
        self._spent["bytes"] += num_bytes
        if self._spent["bytes"] > self._max_bytes:
            raise Unreadable(f"unpacks to more than {self._max_bytes:,} bytes; the rest is not read")

    def take_member(self) -> None:
        """Raises Unreadable."""
        self._spent["members"] += 1
        if self._spent["members"] > self._max_members:
            raise Unreadable(f"holds more than {self._max_members:,} entries; the rest is not read")


def read_archive(file: BinaryIO, kind: Kind, budget: Budget) -> Iterator[Member]:
    """The files of known kinds in it, in its order; hidden ones, links and folders are left out.

    Raises Unreadable when the archive is damaged or the budget spent; what came before stands.
    """
    members = _zip_members(file, budget) if kind is Kind.ZIP else _tar_members(file, budget)
    try:
        yield from members
    except _DAMAGE as error:
        raise Unreadable(f"is damaged: {error or type(error).__name__}") from error


def _zip_members(file: BinaryIO, budget: Budget) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            budget.take_member()
            name = _safe_name(entry.filename)
            if not entry.is_dir() and _is_wanted(name):
                yield _zip_member(archive, entry, name, budget)


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, budget: Budget) -> Member:
    if entry.flag_bits & 1:
        return Member(name, None, "is encrypted")
    if entry.file_size > MAX_MEMBER_BYTES:
        return Member(name, None, _too_large(entry.file_size))
    try:
        with archive.open(entry) as member:
            return Member(name, _unpacked(member, budget))
    except (*_DAMAGE, NotImplementedError) as error:
        return Member(name, None, f"is damaged: {error or type(error).__name__}")


def _tar_members(file: BinaryIO, budget: Budget) -> Iterator[Member]:
    counted = _Counted(_decompressed(file), budget)
    with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|") as archive:
        for entry in archive:
            budget.take_member()
            cast(Any, archive).members = []  # it keeps every entry that it has seen
            name = _safe_name(entry.name)
            if entry.isreg() and _is_wanted(name):
                yield _tar_member(archive, entry, name)


def _tar_member(archive: tarfile.TarFile, entry: tarfile.TarInfo, name: str) -> Member:
    if entry.size > MAX_MEMBER_BYTES:
        return Member(name, None, _too_large(entry.size))
    member = archive.extractfile(entry)
    assert member is not None, "a regular file has content"
    return Member(name, io.BytesIO(member.read()))


def _unpacked(member: IO[bytes], budget: Budget) -> BinaryIO:
    content = io.BytesIO()
    while step := member.read(_STEP_BYTES):
        budget.take_bytes(len(step))
        content.write(step)
    return content


class _Counted:
    """A stream that takes what is read from it out of a budget."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._budget.take_bytes(len(content))
        return content


def _decompressed(file: BinaryIO) -> IO[bytes]:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(file)
    return file


def _safe_name(name: str) -> str:
    """A path inside the archive: no root, no way up, `/` between its parts."""
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not is_hidden and suffix_of(path.name) in KIND_BY_SUFFIX


def _too_large(num_bytes: int) -> str:
    return f"is too large for a file in an archive: {num_bytes:,} bytes, at most {MAX_MEMBER_BYTES:,}"
