"""The dense leg."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.retriever.dense import DenseIndex, normalised, write
from services.retriever.index_kind import FLAT, Effort, IndexKind, Metric
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
    return DenseIndex.read(path, DIMENSION, len(vectors))


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
        DenseIndex.read(tmp_path / "dense.faiss", dimension, num_vectors)


def test_a_file_that_faiss_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dense.faiss").write_bytes(b"not an index")
    with pytest.raises(UnreadableIndex, match=r"dense\.faiss"):
        DenseIndex.read(tmp_path / "dense.faiss", DIMENSION, 1)


def test_a_disk_that_refuses_the_index_is_an_os_error_that_says_why(tmp_path: Path) -> None:
    with file_size_limit(1_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "dense.faiss", [clustered(1_000)], DIMENSION)


WIDE = 32
RECALL_BY_FACTORY = {
    "Flat": 1.0,
    "SQfp16": 0.99,
    "SQ8": 0.95,
    "IVF32,Flat": 0.95,
    "IVF32,SQfp16": 0.95,
    "IVF32,SQ8": 0.94,
    "IVF32,PQ16": 0.6,
    "HNSW16": 0.95,
    "HNSW16,SQfp16": 0.95,
    "HNSW16,SQ8": 0.94,
}
KINDS = [pytest.param(IndexKind.parse(factory), id=factory) for factory in RECALL_BY_FACTORY]
NUM_WIDE = 10_000


@pytest.fixture(scope="module")
def wide() -> NDArray[np.float32]:
    """Clusters of clusters, of unequal sizes, at length 1."""
    generator = np.random.default_rng(3)
    centres = generator.normal(size=(20, WIDE))[generator.integers(0, 20, 300)] + 0.8 * generator.normal(
        size=(300, WIDE)
    )
    shares = 1 / np.arange(1, 301) ** 0.7
    vectors = centres[generator.choice(300, NUM_WIDE, p=shares / shares.sum())]
    vectors = vectors + 0.6 * generator.normal(size=vectors.shape)
    return normalised(vectors.astype(np.float32), Metric.COSINE)


@pytest.fixture(scope="module")
def index_by_factory(wide: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> dict[str, DenseIndex]:
    """Each kind, written once and read."""
    directory = tmp_path_factory.mktemp("kinds")
    found = {}
    for factory in RECALL_BY_FACTORY:
        kind, path = IndexKind.parse(factory), directory / f"{factory}.faiss"
        assert write(path, np.array_split(wide, 70), WIDE, kind) == NUM_WIDE
        found[factory] = DenseIndex.read(path, WIDE, NUM_WIDE, kind)
    return found


def questions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    noise = np.random.default_rng(9).normal(scale=0.05, size=(50, vectors.shape[1]))
    return normalised((vectors[::200] + noise).astype(np.float32), Metric.COSINE)


def recall(index: DenseIndex, vectors: NDArray[np.float32], kept: NDArray[np.bool_] | None = None) -> float:
    """Of the 10 nearest rows that are kept."""
    shares = []
    for question in questions(vectors):
        products = vectors @ question if kept is None else np.where(kept, vectors @ question, -np.inf)
        nearest = set(np.argsort(-products)[: min(10, np.isfinite(products).sum())].tolist())
        shares.append(len({one.row for one in index.search(question, 10, kept)} & nearest) / len(nearest))
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_the_nearest(
    kind: IndexKind, index_by_factory: dict[str, DenseIndex], wide: NDArray[np.float32]
) -> None:
    assert recall(index_by_factory[kind.factory], wide) >= RECALL_BY_FACTORY[kind.factory]


@pytest.mark.parametrize("share", [0.9, 0.3, 0.03, 0.0005])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_kept_rows_alone_and_as_many_as_are_wanted(
    kind: IndexKind, share: float, index_by_factory: dict[str, DenseIndex], wide: NDArray[np.float32]
) -> None:
    kept = np.random.default_rng(1).random(NUM_WIDE) < share
    index = index_by_factory[kind.factory]
    for limit in (10, 500):
        rows = [one.row for one in index.search(wide[17], limit, kept)]
        assert kept[rows].all()
        assert len(set(rows)) == len(rows) == min(limit, kept.sum())
    assert recall(index, wide, kept) >= RECALL_BY_FACTORY[kind.factory] - 0.02
    assert index.search(wide[17], 5, np.zeros(NUM_WIDE, bool)) == []


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_kept_together_are_found_however_far_they_are(
    kind: IndexKind, share: float, index_by_factory: dict[str, DenseIndex], wide: NDArray[np.float32]
) -> None:
    """A filter often keeps what is about one thing, while the question is about another."""
    products = wide @ wide[17]
    kept = products < np.quantile(products, share)
    rows = [one.row for one in index_by_factory[kind.factory].search(wide[17], 50, kept)]
    assert len(rows) == 50
    assert kept[rows].all()


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_are_found_when_all_are_wanted(kind: IndexKind, index_by_factory: dict[str, DenseIndex]) -> None:
    found = index_by_factory[kind.factory].search(np.ones(WIDE, np.float32), NUM_WIDE)
    assert sorted(one.row for one in found) == list(range(NUM_WIDE))


def test_more_effort_finds_more(index_by_factory: dict[str, DenseIndex], wide: NDArray[np.float32]) -> None:
    def found(factory: str, effort: Effort) -> float:
        index, flat = index_by_factory[factory], index_by_factory["Flat"]
        both = [
            {one.row for one in index.search(asked, 10, effort=effort)} & {one.row for one in flat.search(asked, 10)}
            for asked in questions(wide)
        ]
        return float(np.mean([len(one) / 10 for one in both]))

    assert found("IVF32,Flat", Effort(nprobe=1)) < found("IVF32,Flat", Effort(nprobe=4))
    assert found("IVF32,Flat", Effort(nprobe=32)) == 1.0
    assert found("HNSW16", Effort(ef_search=10)) < found("HNSW16", Effort(ef_search=500))
    assert found("Flat", Effort(nprobe=1, ef_search=1)) == 1.0, "a knob that the kind does not have changes nothing"


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,Flat", "HNSW8"])
def test_cosine_is_the_inner_product_of_vectors_at_length_1(tmp_path: Path, factory: str) -> None:
    vectors = clustered(500) * np.random.default_rng(2).uniform(0.1, 9, size=(500, 1)).astype(np.float32)
    vectors[3] = 0
    cosine, product = IndexKind.parse(factory, Metric.COSINE), IndexKind.parse(factory)
    write(tmp_path / "cosine", [vectors], DIMENSION, cosine)
    write(tmp_path / "product", [normalised(vectors, Metric.COSINE)], DIMENSION, product)
    question = vectors[17] * 5
    found = DenseIndex.read(tmp_path / "cosine", DIMENSION, 500, cosine).search(question, 20)
    unit = question / np.linalg.norm(question)
    assert found == DenseIndex.read(tmp_path / "product", DIMENSION, 500, product).search(unit, 20)
    assert found[0].score == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,Flat", "IVF4,SQfp16", "HNSW16", "HNSW16,SQ8"])
def test_an_index_of_another_kind_than_described_is_refused(factory: str, tmp_path: Path) -> None:
    write(tmp_path / "dense.faiss", [clustered(200)], DIMENSION, IndexKind.parse(factory))
    other = IndexKind.parse("HNSW32") if factory == "Flat" else FLAT
    with pytest.raises(UnreadableIndex, match="kind"):
        DenseIndex.read(tmp_path / "dense.faiss", DIMENSION, 200, other)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "SQfp16", "HNSW16", "HNSW16,SQ8"])
def test_a_kind_that_needs_no_passages_is_written_without_any(factory: str, tmp_path: Path) -> None:
    kind = IndexKind.parse(factory)
    write(tmp_path / "dense.faiss", [], WIDE, kind)
    assert DenseIndex.read(tmp_path / "dense.faiss", WIDE, 0, kind).search(np.ones(WIDE, np.float32), 5) == []


def test_what_an_index_has_learnt_serves_fewer_passages_than_it_was_learnt_from(
    index_by_factory: dict[str, DenseIndex], wide: NDArray[np.float32], tmp_path: Path
) -> None:
    kind = IndexKind.parse("IVF32,Flat")
    write(tmp_path / "large", [wide], WIDE, kind)
    large = DenseIndex.read(tmp_path / "large", WIDE, NUM_WIDE, kind)
    write(tmp_path / "small", [wide[:5]], WIDE, kind, like=large)
    found = DenseIndex.read(tmp_path / "small", WIDE, 5, kind).search(wide[3], 5)
    assert found[0].row == 3
    assert sorted(one.row for one in found) == list(range(5))
