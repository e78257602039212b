"""What a search left out, and where one passage stands, in a published version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.retriever.explanation import Standing, find_left_out, find_standing
from services.retriever.fusion import Weights
from services.retriever.search import Findings, Mode, Search
from services.retriever.version import Version, load
from tests.unit.collections_on_disk import DIMENSION, ENCODER, create, open_writer, record

NUM_FILLERS = 300
MAX_TOP_K = 250
POINTERS = 3


@pytest.fixture
async def version(tmp_path: Path) -> Version:
    """Three passages about the pointer, which are short, and many longer ones that are not."""
    collection = create(tmp_path)
    writer = open_writer(collection)
    await writer.append(record(writer, "pointer", *("pointer " * (n + 1) for n in range(POINTERS))))
    await writer.append(record(writer, "filler", *("word " * 10 + "x" * n for n in range(NUM_FILLERS))))
    await writer.publish()
    await writer.close()
    pointer = collection.pointer()
    assert pointer is not None
    return load(collection, pointer, ENCODER)


def search(mode: Mode = Mode.HYBRID, top_k: int = 10, weights: Weights | None = None) -> Search:
    return Search("pointer", mode, top_k, weights or Weights())


def findings(version: Version, search: Search, **changes: Any) -> Findings:
    """As a searcher finds, for a question near to long passages."""
    encoded: Any = SimpleNamespace(output=SimpleNamespace(vector=np.eye(DIMENSION, dtype=np.float32)[0]))
    dense = version.dense.search(encoded.output.vector, search.limit) if search.mode is not Mode.SPARSE else []
    bm25 = version.sparse.search(search.question, search.limit) if search.mode is not Mode.DENSE else []
    wanted = search.order(dense, bm25)[: search.top_k]
    encoded = None if search.mode is Mode.SPARSE else encoded
    return replace(Findings(version.with_passages(wanted), dense, bm25, encoded), **changes)


def standing(version: Version, search: Search, passage_id: str, **changes: Any) -> Standing:
    found = find_standing(version, search, findings(version, search, **changes), passage_id, MAX_TOP_K)
    assert found is not None
    return found


def test_what_was_found_and_what_was_left_out_are_all_that_the_legs_found(version: Version) -> None:
    found = findings(version, search())
    left_out = find_left_out(version, search(), found)
    everything = [one for one, _ in found.found + left_out]
    assert [one.fused.rank for one in everything if one.fused] == list(range(1, 104))
    assert sorted(one.dense.rank for one in everything if one.dense) == list(range(1, 101))
    assert sorted(one.bm25.rank for one in everything if one.bm25) == list(range(1, POINTERS + 1))


def test_what_only_a_leg_of_weight_zero_found_comes_last(version: Version) -> None:
    weightless = search(weights=Weights(bm25=0))
    left_out = find_left_out(version, weightless, findings(version, weightless))
    assert len(left_out) == 100 - 10 + POINTERS
    last = [one for one, _ in left_out[-POINTERS:]]
    assert [one.bm25.rank for one in last if one.bm25] == [1, 2, 3]
    assert all(one.fused is None and one.dense is None for one in last)


@pytest.mark.parametrize("mode", [Mode.DENSE, Mode.SPARSE], ids=str)
def test_a_search_by_one_leg_leaves_out_nothing_that_it_found(version: Version, mode: Mode) -> None:
    assert find_left_out(version, search(mode, 2), findings(version, search(mode, 2))) == []


def test_a_passage_that_no_leg_found_has_a_rank_beyond_their_limit(version: Version) -> None:
    found = standing(version, search(), "filler#100")
    assert found.passage.text.endswith("x" * 100)
    assert found.found.bm25 is None
    assert found.found.dense
    assert found.found.dense.rank == NUM_FILLERS - 100
    assert found.limit == 2 * MAX_TOP_K


@pytest.mark.parametrize(
    ("mode", "passage_id"),
    [
        pytest.param(Mode.HYBRID, "filler#100", id="found by no leg"),
        pytest.param(Mode.HYBRID, "filler#250", id="fused beyond"),
        pytest.param(Mode.DENSE, "filler#100", id="dense"),
        pytest.param(Mode.SPARSE, "pointer#0", id="sparse"),
    ],
)
def test_with_as_many_as_it_needs_a_passage_is_found_and_with_one_less_it_is_not(
    version: Version, mode: Mode, passage_id: str
) -> None:
    needed = standing(version, search(mode, 1), passage_id).needed_top_k
    assert needed is not None
    for top_k, is_found in [(needed - 1, False), (needed, True)]:
        found = findings(version, search(mode, top_k)).found
        assert (passage_id in {passage.passage_id for _, passage in found}) is is_found


def test_a_passage_that_no_number_brings_in_needs_none(version: Version) -> None:
    assert standing(version, search(Mode.SPARSE), "filler#0").needed_top_k is None
    last = standing(version, search(Mode.DENSE), "pointer#0")
    assert (last.found.dense, last.needed_top_k) == (None, None), f"303 are more than {MAX_TOP_K}"


def test_a_leg_that_failed_or_did_not_search_has_no_rank(version: Version) -> None:
    failed = standing(version, search(), "pointer#0", dense_error=OSError("gone"), dense=[])
    assert failed.found.dense is None
    assert failed.found.bm25
    without_bm25 = standing(version, search(), "pointer#0", bm25_error=OSError("gone"), bm25=[])
    assert without_bm25.found.bm25 is None
    assert without_bm25.found.dense
    assert standing(version, search(Mode.DENSE), "pointer#2").found.bm25 is None


def test_a_leg_ranks_alike_however_far_it_looks(version: Version) -> None:
    for ranked in findings(version, search()).dense[::20]:
        (passage,) = version.sparse.passages([ranked.row])
        assert standing(version, search(), passage.passage_id).found.dense == ranked


@pytest.mark.parametrize("passage_id", ["filler#300", "filler#007", "filler", "#", "zz#0", "a#0", "filler#٧"], ids=str)
def test_a_passage_that_is_not_there_has_no_standing(version: Version, passage_id: str) -> None:
    assert find_standing(version, search(), findings(version, search()), passage_id, MAX_TOP_K) is None


async def test_every_passage_is_found_by_its_id(tmp_path: Path) -> None:
    """Numbers are ordered as numbers, and documents as their ids are, whatever is in them."""
    collection = create(tmp_path)
    writer = open_writer(collection)
    for document_id in ["a", "a#2", "a#", "é", "中", "B", "a!"]:
        await writer.append(record(writer, document_id, *(f"text {n}" for n in range(12))))
    await writer.publish()
    await writer.close()
    pointer = collection.pointer()
    assert pointer is not None
    index = load(collection, pointer, ENCODER).sparse
    rows = range(index.num_passages)
    assert [index.row_of(passage.passage_id) for passage in index.passages(rows)] == list(rows)


async def test_among_equals_a_passage_stands_where_the_search_put_it(tmp_path: Path) -> None:
    """FAISS cuts equals as it likes, otherwise for each limit."""
    collection = create(tmp_path)
    writer = open_writer(collection)
    for number in range(300):
        await writer.append(record(writer, f"d{number:03d}", "x" * (number * 7 % 12 + 1)))
    await writer.publish()
    pointer = collection.pointer()
    assert pointer is not None
    equals = load(collection, pointer, ENCODER)
    for top_k in (7, 30, 60, 90):
        asked = search(Mode.DENSE, top_k)
        found = findings(equals, asked)
        for (one, passage), ranked in zip(found.found, found.dense, strict=True):
            stands = find_standing(equals, asked, found, passage.passage_id, MAX_TOP_K)
            assert stands is not None
            assert stands.found.dense == ranked == one.dense
