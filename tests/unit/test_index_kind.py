"""What a collection's dense index may be, and what each kind needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.retriever.dense import write
from services.retriever.index_kind import Effort, IndexKind, InvalidIndexKind, Metric, TooFewPassages
from services.retriever.training import draw, trained

FACTORIES = [
    "Flat",
    "SQfp16",
    "SQ8",
    "IVF64,Flat",
    "IVF64,SQfp16",
    "IVF64,SQ8",
    "IVF64,PQ12",
    "HNSW32",
    "HNSW32,SQfp16",
    "HNSW32,SQ8",
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_kind_is_known_by_one_factory_string(factory: str) -> None:
    assert IndexKind.parse(factory).factory == factory
    assert IndexKind.parse("HNSW16,Flat") == IndexKind.parse("HNSW16")


@pytest.mark.parametrize(
    "factory",
    [
        "",
        "flat",
        "Flat ",
        "IVF64",
        "IVF64,",
        "IVF0,Flat",
        "IVF064,Flat",
        "IVF70000,Flat",
        "IVF٣,Flat",
        "PQ48",
        "HNSW32,PQ48",
        "HNSW32,",
        "HNSW",
        "HNSW2",
        "HNSW100",
        "IVF64,PQ0",
        "IVF64,PQ48x4fs",
        "IVF64,HNSW32",
        "PCA32,Flat",
        "IDMap,Flat",
        "Flat,RFlat",
        "SQ4",
        "Flat\n",
    ],
)
def test_any_other_string_is_refused_before_faiss_sees_it(factory: str) -> None:
    with pytest.raises(InvalidIndexKind):
        IndexKind.parse(factory)


def test_codes_that_do_not_divide_the_dimension_are_refused() -> None:
    IndexKind.parse("IVF64,PQ48").require_suited(384)
    with pytest.raises(InvalidIndexKind, match="50 does not divide the dimension, 384"):
        IndexKind.parse("IVF64,PQ50").require_suited(384)


@pytest.mark.parametrize(
    ("factory", "num_needed"),
    [("Flat", 0), ("SQ8", 0), ("HNSW32,SQ8", 0), ("IVF64,Flat", 2_496), ("IVF64,PQ48", 9_984), ("IVF512,PQ48", 19_968)],
)
def test_training_needs_39_passages_for_each_centroid(factory: str, num_needed: int) -> None:
    assert IndexKind.parse(factory).num_needed == num_needed


def test_too_few_passages_are_refused_with_both_numbers() -> None:
    kind, vectors = IndexKind.parse("IVF2,Flat"), np.ones((77, 4), np.float32)
    with pytest.raises(TooFewPassages, match="at least 78 passages, and there are 77") as refusal:
        trained(kind, [vectors], 4)
    assert (refusal.value.needed, refusal.value.found) == (78, 77)
    assert trained(kind, [vectors, vectors[:1]], 4).is_trained


def test_a_sample_is_the_same_however_vectors_are_cut_into_blocks_and_in_their_order() -> None:
    vectors = np.arange(10_000, dtype=np.float32)[:, np.newaxis]
    whole, num_found = draw([vectors], 100, 1)
    cut, _ = draw(np.array_split(vectors, 37), 100, 1)
    assert num_found == 10_000
    assert whole.shape == (100, 1)
    assert whole.tolist() == cut.tolist() == sorted(whole.tolist())
    assert 3_500 < whole.mean() < 6_500
    few, num_few = draw([vectors[:30], vectors[30:50]], 100, 1)
    assert (few.tolist(), num_few) == (vectors[:50].tolist(), 50)


@pytest.mark.parametrize("factory", FACTORIES)
def test_memory_is_foretold_within_a_twentieth(factory: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(10_000, 96)).astype(np.float32)
    kind = IndexKind.parse(factory)
    write(tmp_path / "dense.faiss", [vectors], 96, kind)
    assert kind.num_bytes(10_000, 96) == pytest.approx((tmp_path / "dense.faiss").stat().st_size, rel=0.05)


def test_a_sixteenth_of_the_lists_is_searched_unless_a_request_says_otherwise() -> None:
    kind = IndexKind.parse("IVF1024,Flat")
    assert kind.num_probed(Effort()) == 64
    assert kind.num_probed(Effort(nprobe=3)) == 3
    assert kind.num_probed(Effort(nprobe=4_096)) == 1_024
    assert IndexKind.parse("IVF4,Flat").num_probed(Effort()) == 4


def test_a_walk_keeps_twice_in_view_what_is_wanted_unless_a_request_says_otherwise() -> None:
    kind = IndexKind.parse("HNSW32")
    assert kind.num_in_view(Effort(), 10) == 128
    assert kind.num_in_view(Effort(), 100) == 200
    assert kind.num_in_view(Effort(ef_search=30), 10) == 30
    assert kind.num_in_view(Effort(ef_search=30), 100) == 100


def test_a_metric_is_part_of_the_kind() -> None:
    assert IndexKind.parse("Flat", Metric.COSINE) != IndexKind.parse("Flat")
