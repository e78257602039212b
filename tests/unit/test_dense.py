"""The dense leg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.retriever.dense import DenseIndex, write
from services.retriever.manifest import UnreadableIndex
from tests.unit.collections_on_disk import file_size_limit

DIMENSION = 8


def clustered(num_vectors: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(5, DIMENSION))
    noise = generator.normal(scale=0.2, size=(num_vectors, DIMENSION))
    return (centres[np.arange(num_vectors) % 5] + noise).astype(np.float32)


def index_of(directory: Path, vectors: NDArray[np.float32]) -> DenseIndex:
    path = directory / "dense.faiss"
    assert write(path, [vectors[:3], vectors[3:]], DIMENSION) == len(vectors)
    return DenseIndex(path, DIMENSION, len(vectors))


def test_the_nearest_by_inner_product_come_first(tmp_path: Path) -> None:
    vectors = clustered(50)
    question = vectors[17] + 0.1
    found = index_of(tmp_path, vectors).search(question, 10)
    products = vectors @ question
    assert [one.row for one in found] == np.argsort(-products)[:10].tolist()
    assert [one.score for one in found] == pytest.approx(np.sort(products)[::-1][:10].tolist(), abs=1e-5)
    assert [one.rank for one in found] == list(range(1, 11))


def test_equal_scores_are_ordered_by_row(tmp_path: Path) -> None:
    vectors = np.tile(clustered(1), (6, 1))
    assert [one.row for one in index_of(tmp_path, vectors).search(vectors[0], 6)] == list(range(6))


def test_fewer_vectors_than_wanted_are_all_found(tmp_path: Path) -> None:
    assert len(index_of(tmp_path, clustered(4)).search(clustered(1)[0], 100)) == 4


def test_only_kept_rows_are_found(tmp_path: Path) -> None:
    vectors = clustered(50)
    kept = np.random.default_rng(1).random(50) < 0.3
    found = index_of(tmp_path, vectors).search(vectors[17], 50, kept)
    products = np.where(kept, vectors @ vectors[17], -np.inf)
    assert [one.row for one in found] == np.argsort(-products)[: kept.sum()].tolist()
    assert index_of(tmp_path, vectors).search(vectors[17], 5, np.zeros(50, bool)) == []


@pytest.mark.parametrize(("dimension", "num_vectors"), [(DIMENSION + 1, 5), (DIMENSION, 6)], ids=["dimension", "count"])
def test_an_index_that_is_not_as_described_is_refused(tmp_path: Path, dimension: int, num_vectors: int) -> None:
    index_of(tmp_path, clustered(5))
    with pytest.raises(UnreadableIndex, match=r"dense\.faiss"):
        DenseIndex(tmp_path / "dense.faiss", dimension, num_vectors)


def test_a_file_that_faiss_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dense.faiss").write_bytes(b"not an index")
    with pytest.raises(UnreadableIndex, match=r"dense\.faiss"):
        DenseIndex(tmp_path / "dense.faiss", DIMENSION, 1)


def test_a_disk_that_refuses_the_index_is_an_os_error_that_says_why(tmp_path: Path) -> None:
    with file_size_limit(1_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "dense.faiss", [clustered(1_000)], DIMENSION)
