"""The files that the arguments of a command line stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cli.reading.kinds import KIND_BY_SUFFIX, suffix_of


@dataclass(frozen=True)
class Source:
    """A file to read and the id its document gets."""

    path: Path
    document_id: str
    reason: str = ""
    """Why it is not even opened."""


def find_all(arguments: Iterable[Path]) -> Iterator[Source]:
    """The files of every argument, in order."""
    for argument in arguments:
        yield from find_sources(argument)


def count_files(arguments: Iterable[Path]) -> int:
    """How many files `find_all` finds. An archive is one."""
    return sum(1 for _ in find_all(arguments))


def find_sources(argument: Path) -> Iterator[Source]:
    """The files that one argument stands for, in a stable order.

    A file is itself, whatever its suffix. A folder stands for the files of known suffixes below it, without
    those whose path begins with a dot anywhere. Folders that are links are not followed but named, as are those
    that cannot be listed. Document ids are paths with `/`, from the argument's own last name on
    (`docs/operations.md`): they do not change with the working directory.
    """
    if not argument.is_dir():
        yield Source(argument, Path(os.path.realpath(argument)).name)
        return
    root = argument.resolve()
    unlisted: list[OSError] = []
    for folder, subfolders, names in os.walk(argument, onerror=unlisted.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in subfolders:
            path = Path(folder, name)
            if path.is_symlink():
                yield Source(path, _id(root, argument, path), _why_not_followed(path))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and suffix_of(name) in KIND_BY_SUFFIX:
                yield Source(path, _id(root, argument, path))
        while unlisted:
            yield _unlisted(unlisted.pop())
    while unlisted:
        yield _unlisted(unlisted.pop())


def _id(root: Path, argument: Path, path: Path) -> str:
    return PurePosixPath(root.name, path.relative_to(argument)).as_posix()


def _why_not_followed(link: Path) -> str:
    if link.parent.resolve().is_relative_to(link.resolve()):
        return "is a link to a folder above it"
    return "is a link to a folder; give that folder itself to have it read"


def _unlisted(error: OSError) -> Source:
    return Source(Path(error.filename), str(error.filename), f"cannot be listed: {error.strerror}")
