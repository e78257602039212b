"""A writer that is killed at any instant leaves the last published version and all that it acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.retriever.collection import Collection
from services.retriever.version import load
from tests.unit.collections_on_disk import ENCODER, create, open_writer, record

ROOT = Path(__file__).resolve().parents[2]
NUM_LINES = 12


async def write_for_ever(collections_path: Path) -> None:
    """Store and publish, and say what is done, until somebody kills this process."""
    writer = open_writer(Collection.named(collections_path, "docs"))
    for number in itertools.count(writer.num_documents):
        await writer.append(record(writer, f"d{number:06d}", f"text {number}"))
        print(f"stored d{number:06d}", flush=True)
        if number % 3 == 2:
            print(f"published {(await writer.publish()).index_version}", flush=True)


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, seed: int) -> None:
    collection = create(tmp_path)
    chance = random.Random(seed)
    for _ in range(2):
        said = _write_until_killed(tmp_path, after_s=chance.uniform(0, 0.02))
        stored = [line.split()[1] for line in said if line.startswith("stored")]
        published = [int(line.split()[1]) for line in said if line.startswith("published")]
        assert len(stored) >= 6
        writer = open_writer(collection)
        assert all(writer.stored(document_id) for document_id in stored)
        pointer = collection.pointer()
        assert pointer is not None
        assert pointer.index_version >= published[-1]
        version = load(collection, pointer, ENCODER)
        passages = version.sparse.passages(range(version.sparse.num_passages))
        assert [passage.text for passage in passages] == [f"text {number}" for number in range(len(passages))]
        before_last_publication = said[: said.index(f"published {published[-1]}")]
        assert all(line.split()[1] <= passages[-1].document_id for line in before_last_publication if "stored" in line)


def _write_until_killed(collections_path: Path, after_s: float) -> list[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.test_indexer_crash", str(collections_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(NUM_LINES)]
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said += process.stdout.read().splitlines()
        assert process.wait() == -signal.SIGKILL, "the writer went down by itself"
    return said


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
