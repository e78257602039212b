"""`trivium build`: encoded by processes of their own, stored by a real indexer, the same as if it had been ingested."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cli.bulk.shards import write_documents, write_plan
from cli.system import clean_environment
from tests.installation import ROOT, run_cli
from tests.system.conftest import SmallIndexer
from tests.unit.seeded_encoders import write_sentence_encoder
from tests.waiting import wait_until
from trivium.v1 import indexer_pb2

WORDS = ["heron", "frog", "reed", "pond", "mud", "water", "night", "bird", "wing", "leg"]
METADATA = ("--metadata", "year:integer")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of very different lengths."""
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(7)
    for number in range(120):
        sentences = [" ".join(random.choice(WORDS, 9)) + "." for _ in range(1 + number % 17)]
        text = f"# Page {number}\n\nPage {number}. {' '.join(sentences)}\n\n## Second\n\n{sentences[0]}\n"
        (folder / f"{number:03}.md").write_text(text)
    rows = [{"id": number, "text": f"Row {number} of the reed.", "year": 1990 + number} for number in range(3)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def build(small_indexer: SmallIndexer, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "build", *map(str, arguments), "--indexer", small_indexer.address, "--json"],
        cwd=ROOT, env=small_indexer.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    parsed: dict[str, Any] = json.loads(output)
    return parsed


def test_a_corpus_that_was_built_is_the_one_that_is_ingested(
    small_indexer: SmallIndexer, corpus: Path, tmp_path: Path
) -> None:
    built = report(
        build(small_indexer, corpus, *METADATA, "--collection", "built", "--work-dir", tmp_path, "--threads", "1")
    )
    assert (built["created"], built["rejected"], built["index_version"]) == (123, 0, 1)
    assert built["num_encoded_passages"] == built["num_published_passages"] > 300
    run_cli("ingest", str(corpus), *METADATA, "--collection", "ingested", "--indexer", small_indexer.address)
    ours, theirs = small_indexer.documents("built"), small_indexer.documents("ingested")
    assert ours.keys() == theirs.keys()
    assert sum(bool(document.passages[0].metadata) for document in ours.values()) == 3
    for document_id, document in ours.items():
        assert document.passages == theirs[document_id].passages
        assert document.content_hash == theirs[document_id].content_hash
        assert document.made_by == theirs[document_id].made_by
        np.testing.assert_allclose(document.vectors, theirs[document_id].vectors, atol=1e-5)
    again = json.loads(
        run_cli("ingest", str(corpus), *METADATA, "--collection", "built", "--indexer", small_indexer.address, "--json")
    )
    assert (again["unchanged"], again["index_version"]) == (123, 1)


@pytest.mark.slow
def test_settings_that_are_not_the_indexers_are_told_before_anything_is_encoded(
    small_indexer: SmallIndexer, corpus: Path, tmp_path: Path
) -> None:
    arguments = ["build", str(corpus), "--collection", "refused", "--work-dir", str(tmp_path)]
    finished = subprocess.run(
        [sys.executable, "-m", "cli", *arguments, "--indexer", small_indexer.address],
        cwd=ROOT, env=small_indexer.environment | {"INDEXER_MAX_PASSAGE_TOKENS": "32"}, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 1
    assert "ENCODER_REFUSED" in finished.stderr
    assert "splitter.max_tokens (index: 40; encoder: 32)" in finished.stderr
    assert not list(tmp_path.rglob("*.done"))


# Without an indexer: what torchrun's processes leave in the folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    model = write_sentence_encoder(tmp_path_factory.mktemp("model"))
    settings = {"INDEXER_MODEL": str(model), "INDEXER_DTYPE": "float32", "INDEXER_DEVICE": "cpu"}
    return clean_environment() | settings | {"OMP_NUM_THREADS": "1"}


def planned(folder: Path, num_documents: int = 60) -> int:
    """Write a plan of small shards. How many there are."""
    random = np.random.default_rng(3)

    def documents() -> Iterator[indexer_pb2.Document]:
        for number in range(num_documents):
            text = f"Number {number}. " + " ".join(random.choice(WORDS, 5 + number * 7 % 400))
            yield indexer_pb2.Document(document_id=f"{number}", sections=[indexer_pb2.Section(text=text)])

    shards = write_documents(folder, documents(), shard_characters=3_000)
    write_plan(folder, shards, {})
    return len(shards)


def start(folder: Path, environment: dict[str, str], num_processes: int = 0) -> subprocess.Popen[str]:
    """The processes that encode; one, without torchrun, unless told otherwise."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}"]
    command = [sys.executable, *(torchrun if num_processes else []), "-m", "services.retriever.build", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def encoded_shards(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return [line["shard"] for line in map(json.loads, output.splitlines()) if line.get("encoded")]


def vectors(folder: Path) -> dict[str, NDArray[np.float32]]:
    return {path.name: np.load(path) for path in folder.rglob("*.npy")}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_two_processes_killed_and_started_again_make_the_very_vectors_of_one(
    environment: dict[str, str], tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    num_shards = planned(alone)
    assert planned(together) == num_shards > 15
    assert len(encoded_shards(start(alone, environment))) == num_shards
    torchrun = start(together, environment, 2)
    assert torchrun.stdout is not None
    while not json.loads(torchrun.stdout.readline()).get("encoded"):
        pass
    ranks = children(torchrun.pid)
    os.kill(torchrun.pid, signal.SIGKILL)
    torchrun.wait()
    torchrun.stdout.close()
    assert len(ranks) >= 2
    wait_until(lambda: not any(map(is_alive, ranks)), 10)
    num_done = len(list(together.rglob("*.done")))
    assert 0 < num_done < num_shards, "it was killed too late to show anything"
    left = encoded_shards(start(together, environment, 2))
    assert len(left) == len(set(left)) == num_shards - num_done
    ours, theirs = vectors(alone), vectors(together)
    assert ours.keys() == theirs.keys()
    assert len(ours) == num_shards
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not list(together.rglob("*.partial"))
