"""A writer that dies at any named step of any write: what it acknowledged is there, and nothing is half there."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from services.retriever import failpoint
from services.retriever.collection import Collection
from services.retriever.indexer import writer as writers
from services.retriever.indexer.versions import Retention
from services.retriever.indexer.writer import CollectionWriter
from tests.unit.collections_on_disk import create, open_writer, published, record, text_by_id

ROOT = Path(__file__).resolve().parents[2]
RETENTION = Retention(2, timedelta(0))

APPEND = ("append.begun", "append.written", "append.synced")
FLIP = ("publish.written", "publish.described", "publish.verified", "publish.renamed", "publish.flipped")
REPLACE = ("replace.written", "replace.renamed")
ERASE = ("erase.planned", "erase.written", "erase.synced", "erase.forgotten")
MATRIX = [
    *(("upsert", step) for step in APPEND),
    *(("delete", step) for step in APPEND),
    *(("publish", step) for step in ("publish.sparse_written", *FLIP, *REPLACE, *ERASE, "remove.renamed")),
    *(("compact", step) for step in ("publish.sparse_written", *FLIP, *REPLACE)),
    *(("roll back", step) for step in (*APPEND, "publish.linked", *FLIP, *REPLACE, "remove.renamed")),
]

OLD = {"a": "a first", "b": "b first"}
"""Version 1; versions 2 and 3 are published later, with the rest."""
BEFORE = {"a": "a second", "b": "b first", "c": "c second"}
"""What is stored and published when the writer is about to die."""
STORED_AFTER = {
    "upsert": {**BEFORE, "a": "a third"},
    "delete": {"a": "a second", "c": "c second"},
    "compact": {**BEFORE, "a": "a third"},
    "publish": {"a": "a third", "c": "c second"},
    "roll back": OLD,
}


async def put(writer: CollectionWriter, **text_by_document_id: str) -> None:
    for document_id, text in text_by_document_id.items():
        await writer.append(record(writer, document_id, text))


async def write(collections_path: Path, kind: str, step: str) -> None:
    """Come to `BEFORE`, and die at this step of this kind of write."""
    writer = open_writer(create(collections_path), retention=RETENTION)
    await put(writer, **OLD)
    await writer.publish()
    await put(writer, a="a second", c="c second")
    await writer.publish()
    if kind == "publish":
        await put(writer, a="a third")
        await writer.delete(["b"])
    failpoint.armed = step
    match kind:
        case "upsert":
            await put(writer, a="a third")
        case "compact":
            writers.COMPACTION_PASSAGES = 1
            await put(writer, a="a third")
            await asyncio.sleep(60)
        case "delete":
            await writer.delete(["b"])
        case "publish":
            await writer.publish()
        case "roll back":
            await writer.roll_back(1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step"), MATRIX)
async def test_a_writer_that_dies_leaves_all_that_it_acknowledged(tmp_path: Path, kind: str, step: str) -> None:
    died = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.unit.test_indexer_crash_matrix", str(tmp_path), kind, step],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert died.returncode == -signal.SIGKILL, f"{step} was not reached: {died.stderr}"
    collection, after = Collection.named(tmp_path, "docs"), STORED_AFTER[kind]
    assert text_by_id(published(collection)) in (BEFORE, after), "the last published version serves"
    writer = open_writer(collection, retention=RETENTION)
    acknowledged = after if kind in ("publish", "compact") else BEFORE
    assert writer.num_documents in (len(acknowledged), len(after))
    await writer.publish()
    assert text_by_id(published(collection)) in (acknowledged, after), "nothing is half there"
    found = await writer.verify()
    assert (found.log.fault, found.log.held) == ("", frozenset())
    assert {version.fault for version in found.versions} == {""}
    assert not list(collection.versions_path.glob(".*")), "what was half made or half removed is gone"
    await put(writer, d="d at last")
    await writer.publish()
    assert text_by_id(published(collection))["d"] == "d at last"


def test_every_step_in_the_code_is_in_the_matrix() -> None:
    named = {
        name
        for path in (ROOT / "services").rglob("*.py")
        for name in re.findall(r'failpoint\.reach\("([^"]+)"\)', path.read_text())
    }
    assert named == {step for _, step in MATRIX}


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
