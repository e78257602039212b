"""`trivium collection import`: an index becomes a version, or its fault has a name and nothing is stored."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from services.retriever.encoder import Text
from services.retriever.loader import load_encoder_blocking
from tests.installation import ROOT
from tests.system.conftest import SmallIndexer

Vectors = NDArray[np.float32]
WORDS = ["heron", "frog", "reed", "pond", "mud", "water", "night", "bird", "wing", "leg"]
NUM_PASSAGES = 300


@dataclass(frozen=True)
class Source:
    """What somebody else has: rows and their vectors."""

    rows: list[dict[str, str]]
    vectors: Vectors


@pytest.fixture(scope="module")
def source(small_indexer: SmallIndexer) -> Source:
    """Three passages a document, and one passage that is longer than the encoder reads."""
    random = np.random.default_rng(11)
    rows = [
        {"id": f"page {number // 3}", "title": f"Page {number // 3}", "text": " ".join(random.choice(WORDS, 8))}
        for number in range(NUM_PASSAGES)
    ]
    rows[7]["text"] = "heron " * 200
    encoder = load_encoder_blocking(small_indexer.encoder, "passage", "cpu")
    encoded = encoder.run(encoder.prepare([Text(row["text"], row["title"]) for row in rows]))
    return Source(rows, np.stack([one.vector for one in encoded]))


def write_index(path: Path, vectors: Vectors, factory: str = "Flat", metric: int = faiss.METRIC_INNER_PRODUCT) -> Path:
    index = faiss.index_factory(vectors.shape[1], factory, metric)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(path))
    return path


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_import(
    small_indexer: SmallIndexer, collection: str, index: Path, passages: Path
) -> subprocess.CompletedProcess[str]:
    arguments = [collection, "--index", str(index), "--passages", str(passages), "--indexer", small_indexer.address]
    return subprocess.run(
        [sys.executable, "-m", "cli", "collection", "import", *arguments, "--json"],
        cwd=ROOT, env=small_indexer.environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def imported(small_indexer: SmallIndexer, collection: str, index: Path, passages: Path) -> dict[str, Any]:
    finished = run_import(small_indexer, collection, index, passages)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    report: dict[str, Any] = json.loads(finished.stdout)
    return report


def test_an_index_and_its_passages_become_a_version(
    small_indexer: SmallIndexer, source: Source, tmp_path: Path
) -> None:
    index = write_index(tmp_path / "index.faiss", source.vectors, "HNSW16,Flat")
    passages = write_rows(tmp_path / "passages.jsonl", source.rows)
    report = imported(small_indexer, "imported", index, passages)
    assert (report["created"], report["num_published_passages"]) == (NUM_PASSAGES // 3, NUM_PASSAGES)
    assert (report["num_checked"], report["num_long_passages"], report["index_version"]) == (64, 1, 1)
    stored = small_indexer.documents("imported")
    assert [passage.text for passage in stored["page 2"].passages] == [row["text"] for row in source.rows[6:9]]
    assert {passage.title for passage in stored["page 2"].passages} == {"Page 2"}
    np.testing.assert_array_equal(stored["page 2"].vectors, source.vectors[6:9])
    again = imported(small_indexer, "imported", index, passages)
    assert (again["unchanged"], again["index_version"]) == (NUM_PASSAGES // 3, 1)


def test_a_folder_of_datasets_is_read_as_rag_keeps_it(
    small_indexer: SmallIndexer, source: Source, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    folder = tmp_path / "dataset"
    folder.mkdir()
    columns = {name: [row[name] for row in source.rows] for name in ("title", "text")}
    table = pyarrow.table({**columns, "embeddings": source.vectors.tolist()})
    halves = (table.slice(0, 100), table.slice(100))
    names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
    for name, half in zip(names, halves, strict=True):
        with pyarrow.OSFile(str(folder / name), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(half)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    report = imported(small_indexer, "rag", write_index(tmp_path / "index.faiss", source.vectors), folder)
    assert (report["created"], report["num_published_passages"]) == (NUM_PASSAGES, NUM_PASSAGES)
    assert small_indexer.documents("rag")["dataset#250"].passages[0].text == source.rows[250]["text"]


def wrong_dimension(source: Source, folder: Path) -> Path:
    return write_index(folder / "index.faiss", np.ascontiguousarray(source.vectors[:, :16]))


def wrong_metric(source: Source, folder: Path) -> Path:
    return write_index(folder / "index.faiss", source.vectors, metric=faiss.METRIC_L2)


def wrong_count(source: Source, folder: Path) -> Path:
    return write_index(folder / "index.faiss", source.vectors[:-1])


def another_encoders(source: Source, folder: Path) -> Path:
    return write_index(folder / "index.faiss", np.ascontiguousarray(source.vectors[::-1]))


def compressed(source: Source, folder: Path) -> Path:
    return write_index(folder / "index.faiss", source.vectors, "PQ8x8")


def with_ids(source: Source, folder: Path) -> Path:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(source.vectors.shape[1]))
    index.add_with_ids(source.vectors, np.arange(NUM_PASSAGES)[::-1].copy())
    faiss.write_index(index, str(folder / "index.faiss"))
    return folder / "index.faiss"


def hostile(source: Source, folder: Path) -> Path:
    """It says that vectors are shorter than those that FAISS will write."""
    path = write_index(folder / "index.faiss", np.tile(source.vectors, (40, 1)), "PQ4x4")
    content = bytearray(path.read_bytes())
    struct.pack_into("<i", content, 4, 1)
    path.write_bytes(content)
    return path


def no_index(source: Source, folder: Path) -> Path:
    (folder / "index.faiss").write_bytes(b"no index at all " * 100)
    return folder / "index.faiss"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(wrong_dimension, "DIMENSION_MISMATCH", id="dimension"),
        pytest.param(wrong_metric, "METRIC_MISMATCH", id="metric", marks=pytest.mark.slow),
        pytest.param(wrong_count, "COUNT_MISMATCH", id="count", marks=pytest.mark.slow),
        pytest.param(another_encoders, "VECTORS_MISMATCH", id="vectors"),
        pytest.param(compressed, "VECTORS_MISMATCH", id="compressed", marks=pytest.mark.slow),
        pytest.param(with_ids, "INDEX_UNREADABLE", id="ids", marks=pytest.mark.slow),
        pytest.param(no_index, "INDEX_UNREADABLE", id="no index", marks=pytest.mark.slow),
        pytest.param(hostile, "INDEX_CRASHED", id="hostile"),
    ],
)
def test_what_is_wrong_with_an_index_has_a_name_and_nothing_is_stored(
    small_indexer: SmallIndexer,
    source: Source,
    tmp_path: Path,
    make: Callable[[Source, Path], Path],
    reason: str,
) -> None:
    passages = write_rows(tmp_path / "passages.jsonl", source.rows)
    collection = f"wrong-{make.__name__}".replace("_", "-")
    finished = run_import(small_indexer, collection, make(source, tmp_path), passages)
    assert finished.returncode == 1
    assert json.loads(finished.stdout)["error"]["code"] == reason, finished.stdout
    assert "Traceback" not in finished.stderr
    log = small_indexer.collections_path / collection
    assert not log.exists() or not small_indexer.documents(collection)


def test_an_id_that_comes_again_later_is_named(small_indexer: SmallIndexer, source: Source, tmp_path: Path) -> None:
    index = write_index(tmp_path / "index.faiss", source.vectors[:3])
    passages = write_rows(tmp_path / "passages.jsonl", [source.rows[0], source.rows[3], source.rows[0]])
    error = json.loads(run_import(small_indexer, "again", index, passages).stdout)["error"]
    assert (error["code"], "page 0" in error["message"]) == ("DUPLICATE_ID", True)


def test_passages_that_are_none_are_named(small_indexer: SmallIndexer, source: Source, tmp_path: Path) -> None:
    index = write_index(tmp_path / "index.faiss", source.vectors)
    passages = tmp_path / "passages.jsonl"
    passages.write_text('{"text": "one"}\n{"title": "no text"}\n')
    finished = run_import(small_indexer, "none", index, passages)
    error = json.loads(finished.stdout)["error"]
    assert error["code"] == "PASSAGES_UNREADABLE"
    assert "row 1 has none of the fields" in error["message"]
