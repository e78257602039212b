"""Where a collection lies on disk, and the pointer to its published version. Imports no model code.

<collections_path>/
├── .writer.lock               held by the one indexer
└── handbook/                  a collection
    ├── collection.json        what was fixed when it was created
    ├── log/000001.log         every acknowledged document: text and vectors
    ├── versions/000007/       manifest.json, dense.faiss, sparse/, columns/ (with fields): immutable
    └── published              the pointer: version number and its manifest's sha256
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.retriever import durable
from services.retriever.analyzer import LANGUAGES, Analyzer
from services.retriever.index_kind import FLAT, IndexKind, InvalidIndexKind, Metric
from services.retriever.metadata import Fields, declared_from_json, declared_to_json

DEFAULT_NAME = "default"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
NAME_RULE = "1 to 64 of a-z, 0-9, - and _; begins with a letter or digit"
SETTINGS = "collection.json"
POINTER = "published"
LOCK = ".writer.lock"
"""Beside the collections. Once there was a writer it is there: without it the directory may be a mount that is gone."""
FORMAT = 1
"""Of the layout. A reader refuses another."""


class UnknownFormat(Exception):
    """Written by another version of this software."""


class CorruptPointer(Exception):
    """The file that names the published version cannot be understood."""


@dataclass(frozen=True)
class Pointer:
    """The published version, and which manifest is its."""

    index_version: int
    manifest_sha256: str


@dataclass(frozen=True)
class Settings:
    """What was fixed when the collection was created."""

    analyzer: Analyzer
    created_at: datetime
    fields: Fields = field(default_factory=dict)
    """Those that documents may have and filters may name."""
    kind: IndexKind = FLAT
    """Of the dense leg. Not in files that were written before there was a choice."""


@dataclass(frozen=True)
class Collection:
    """A collection's directory. The name has been matched with `NAME` before it became a path."""

    path: Path

    @classmethod
    def named(cls, collections_path: Path, name: str) -> Collection:
        """The collection of that name, there or not."""
        assert NAME.fullmatch(name), "a name becomes a path only after it was validated"
        return cls(collections_path / name)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def log_path(self) -> Path:
        return self.path / "log"

    @property
    def versions_path(self) -> Path:
        return self.path / "versions"

    def version_path(self, index_version: int) -> Path:
        return self.versions_path / f"{index_version:06d}"

    def exists(self) -> bool:
        """Raises OSError when nobody can tell."""
        return (self.path / SETTINGS).is_file()

    def create(self, settings: Settings) -> None:
        """Make it, whole or not at all. One that is there stays as it is. Raises OSError."""
        if not self.exists():
            self._make(settings)
        durable.sync_directory(self.path.parent)

    def _make(self, settings: Settings) -> None:
        beside = durable.partial(self.path)
        for directory in (beside / "log", beside / "versions"):
            directory.mkdir(parents=True, exist_ok=True)
        fields = {
            "format": FORMAT,
            "analyzer": asdict(settings.analyzer),
            "created_at": settings.created_at.isoformat(),
            "fields": declared_to_json(settings.fields),
            "index": {"factory": settings.kind.factory, "metric": settings.kind.metric.value},
        }
        durable.replace(beside / SETTINGS, json.dumps(fields, indent=2).encode())
        beside.rename(self.path)

    def settings(self) -> Settings:
        """Raises UnknownFormat; OSError when there is no such collection."""
        path = self.path / SETTINGS
        data = path.read_bytes()
        try:
            return _settings(json.loads(data))
        except UnknownFormat as error:
            raise UnknownFormat(f"{path}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, InvalidIndexKind) as error:
            raise UnknownFormat(f"{path}: cannot be understood ({error})") from error

    def pointer(self) -> Pointer | None:
        """The published version; None when nothing is published. Raises CorruptPointer."""
        try:
            fields = json.loads((self.path / POINTER).read_bytes())
            return Pointer(int(fields["index_version"]), str(fields["manifest_sha256"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptPointer(f"{self.path / POINTER}: not a pointer") from error

    def flip(self, pointer: Pointer) -> None:
        """Publish: readers see the old pointer or the new one, never anything else."""
        durable.replace(self.path / POINTER, json.dumps(asdict(pointer)).encode())


def _settings(fields: dict[str, Any]) -> Settings:
    if fields["format"] != FORMAT:
        raise UnknownFormat(f"format {fields['format']}, this software reads {FORMAT}")
    analyzer = Analyzer(**fields["analyzer"])
    if analyzer.language not in LANGUAGES:
        raise UnknownFormat(f"language {analyzer.language}")
    created_at = datetime.fromisoformat(fields["created_at"]).astimezone(UTC)
    index = fields.get("index")
    kind = IndexKind.parse(index["factory"], Metric(index["metric"])) if index else FLAT
    return Settings(analyzer, created_at, declared_from_json(fields.get("fields", {})), kind)


def directories(collections_path: Path) -> Iterator[Collection]:
    """What may be a collection, by name: `exists` tells. Raises OSError."""
    if collections_path.is_dir():
        for path in sorted(collections_path.iterdir()):
            if NAME.fullmatch(path.name) and path.is_dir():
                yield Collection(path)
