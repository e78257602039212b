"""What a version consists of: every file with its size and sha256. Imports no model code.

Readers verify it before FAISS or tantivy reads a byte, for these trust their input.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from chassis.checkpoint import sha256_of
from services.retriever.analyzer import Analyzer
from services.retriever.fingerprint import Fingerprint

NAME = "manifest.json"
LOCKS = frozenset({".tantivy-meta.lock", ".tantivy-writer.lock"})
"""Empty files that tantivy leaves behind, and may make once more when nobody expects it: no content of a version."""
FORMAT = 3


class CorruptVersion(Exception):
    """A version's files are not what its manifest says. Names the file."""


class UnreadableIndex(Exception):
    """The files are as published, and yet not an index as their manifest describes it. Names the file."""


@dataclass(frozen=True)
class File:
    """One file's size in bytes, and its sha256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A version's."""

    index_version: int
    created_at: datetime
    num_documents: int
    num_passages: int
    dimension: int
    metric: str
    index_factory: str
    analyzer: Analyzer
    encoder: Fingerprint
    """Compared with the running encoder's."""
    splitter: Fingerprint
    """How documents became passages. Readers need not agree."""
    log_end: int
    """Offset in the log: the version holds the documents as they were when it ended there."""
    library_versions: Mapping[str, str]
    file_by_path: Mapping[str, File]
    """By path below the version's directory."""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.file_by_path.values())

    def to_json(self) -> bytes:
        """With a hash of its own, for of versions that are not published nobody else keeps one."""
        fields = {**asdict(self), "created_at": self.created_at.isoformat()}
        return json.dumps({"format": FORMAT, "sha256": _sha256_of(fields), **fields}, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Raises CorruptVersion."""
        try:
            fields: dict[str, Any] = json.loads(data)
            found, sha256 = fields.pop("format", None), fields.pop("sha256", None)
        except (ValueError, TypeError, AttributeError):
            raise CorruptVersion(f"{NAME}: not a manifest") from None
        if found != FORMAT:
            raise CorruptVersion(f"{NAME}: format {found}, this software reads {FORMAT}")
        if sha256 != _sha256_of(fields):
            raise CorruptVersion(f"{NAME}: its own sha256 differs")
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        fields["analyzer"] = Analyzer(**fields["analyzer"])
        fields["file_by_path"] = {path: File(**file) for path, file in fields["file_by_path"].items()}
        return cls(**fields)


def _sha256_of(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def describe(directory: Path) -> dict[str, File]:
    """Every file below a directory, by its path there. Hashes them all: blocks."""
    return {
        path.relative_to(directory).as_posix(): File(path.stat().st_size, sha256_of([path]))
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in LOCKS
    }


def read(directory: Path, sha256: str | None = None) -> Manifest:
    """The manifest in a version's directory. Raises CorruptVersion unless it has that sha256. Blocks.

    Without one, of a version that the pointer does not name, the manifest's own hash is all that is checked.
    """
    try:
        data = (directory / NAME).read_bytes()
    except OSError as error:
        raise CorruptVersion(f"{NAME}: cannot be read") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptVersion(f"{NAME}: not the one that was published")
    return Manifest.from_json(data)


def verify(directory: Path, manifest: Manifest) -> None:
    """Raises CorruptVersion, naming the file, unless the files are exactly those of the manifest. Blocks."""
    try:
        found = describe(directory)
    except OSError as error:
        raise CorruptVersion(f"{error.filename}: cannot be read") from error
    found.pop(NAME, None)
    for path in sorted(found.keys() | manifest.file_by_path.keys()):
        if path not in found:
            raise CorruptVersion(f"{path}: missing")
        if path not in manifest.file_by_path:
            raise CorruptVersion(f"{path}: not in the manifest")
        if found[path] != manifest.file_by_path[path]:
            raise CorruptVersion(f"{path}: size or sha256 differs from the manifest")
