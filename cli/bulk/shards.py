"""The folder of a build, as `trivium build` writes and reads it; services/retriever/build/work.py has its layout."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.proto import parse_length_prefixed

from trivium.v1 import indexer_pb2

SHARD_CHARACTERS = 1_000_000
"""About 2,000 passages: what a killed process loses at most, and what a process holds."""


@dataclass(frozen=True)
class Shard:
    """Documents that one process encodes at once."""

    name: str
    """The SHA-256 of its content."""
    num_characters: int
    """Of all texts."""


def write_documents(
    folder: Path, documents: Iterable[indexer_pb2.Document], shard_characters: int = SHARD_CHARACTERS
) -> list[Shard]:
    """Write the documents as shards of at least so many characters, but for the last. Raises OSError."""
    directory = folder / "documents"
    directory.mkdir(parents=True, exist_ok=True)
    shards: list[Shard] = []
    content = io.BytesIO()
    num_characters = 0
    for document in documents:
        message = document.SerializeToString(deterministic=True)  # the same documents have the same name
        content.write(_varint(len(message)) + message)
        num_characters += sum(len(section.text) for section in document.sections)
        if num_characters >= shard_characters:
            shards.append(Shard(_write(directory, content.getvalue()), num_characters))
            content, num_characters = io.BytesIO(), 0
    if num_characters:
        shards.append(Shard(_write(directory, content.getvalue()), num_characters))
    return shards


def write_plan(folder: Path, shards: Iterable[Shard], fingerprint: Mapping[str, str]) -> None:
    """Say which shards are to be encoded, and by what encoder and splitter. Raises OSError."""
    plan = {"shards": [shard.name for shard in shards], "fingerprint": dict(fingerprint)}
    _replace(folder / "plan.json", json.dumps(plan, indent=1).encode())


def unfinished(folder: Path, shards: Iterable[Shard], made_by: str) -> list[Shard]:
    """Those that are still to be encoded."""
    return [shard for shard in shards if not (folder / "encoded" / made_by / f"{shard.name}.done").exists()]


@dataclass(frozen=True)
class EncodedDocument:
    """A document as it was read, and with passages and vectors."""

    document: indexer_pb2.Document
    encoded: indexer_pb2.EncodedDocument


def read_encoded(folder: Path, shards: Iterable[Shard], made_by: str) -> Iterator[EncodedDocument]:
    """All documents of these shards, in order. Vectors are read from memory maps as they are needed."""
    for name in (shard.name for shard in shards):
        beside = folder / "encoded" / made_by / name
        vectors = np.load(beside.with_name(f"{name}.npy"), mmap_mode="r")
        row = 0
        with (folder / "documents" / name).open("rb") as documents, _passages(beside) as passages:
            whole, encoded_file = _Stream(documents), _Stream(passages)
            while document := whole.read(indexer_pb2.Document):
                encoded = encoded_file.read(indexer_pb2.EncodedDocument)
                end = row + len(encoded.document.sections)
                encoded.vectors = np.ascontiguousarray(vectors[row:end], dtype="<f4").tobytes()
                row = end
                yield EncodedDocument(document, encoded)


def _passages(beside: Path) -> io.BufferedReader:
    return beside.with_name(f"{beside.name}.passages").open("rb")


class _Stream:
    """Messages one after the other in a file."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file: Any = file  # the library's type is narrower than what it reads

    def read(self, kind: Any) -> Any:
        """The next one; None at the end."""
        return parse_length_prefixed(kind, self._file)


def _varint(number: int) -> bytes:
    """As a message's length stands before it."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def _write(directory: Path, content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    if not (directory / name).exists():
        _replace(directory / name, content)
    return name


def _replace(path: Path, content: bytes) -> None:
    """In one step, on disk when this returns."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
