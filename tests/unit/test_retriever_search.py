"""Both legs of a search, and what is left when one of them fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from chassis.config import BatchConfig
from chassis.deadline import NEVER, Deadline
from chassis.device import Device
from chassis.metrics import Metrics
from chassis.runtime import Runtime
from services.retriever.columns import Rows
from services.retriever.encoder import Encoded, Text
from services.retriever.fusion import Ranked, Weights
from services.retriever.search import Mode, Search, Searcher
from services.retriever.sparse import SparseIndex
from services.retriever.version import SparseLeg, Version, load
from tests.unit.collections_on_disk import DIMENSION, ENCODER, create, publish_texts


@dataclass(frozen=True)
class Lengths:
    num_tokens: int
    num_padded_tokens: int


class LengthEncoder:
    """A question's vector says that long passages are near. Takes as long as it is told, or fails."""

    pads = True

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.started = threading.Event()
        self._seconds, self._error = seconds, error

    def cost(self, item: Text) -> int:
        return 1

    def prepare(self, items: Sequence[Text]) -> Lengths:
        return Lengths(len(items), len(items))

    def run(self, batch: Lengths) -> list[Encoded]:
        self.started.set()
        time.sleep(self._seconds)
        if self._error:
            raise self._error
        vector = np.eye(DIMENSION, dtype=np.float32)[0]
        return [Encoded(vector, 1, 0)] * batch.num_tokens


class BrokenSparse(SparseIndex):
    """Its passages can be read and its terms cannot."""

    def __init__(self, whole: SparseLeg) -> None:
        self.__dict__.update(whole.__dict__)

    def search(self, question: str, limit: int, kept: Rows | None = None) -> list[Ranked]:
        raise OSError("the disk does not answer")


@pytest.fixture
async def version(tmp_path: Path) -> Version:
    collection = create(tmp_path)
    await publish_texts(collection, a="the pointer", b="a much longer text about nothing", c="pointer pointer")
    pointer = collection.pointer()
    assert pointer is not None
    return load(collection, pointer, ENCODER)


@asynccontextmanager
async def searching(encoder: LengthEncoder) -> AsyncIterator[Searcher]:
    runtime = Runtime("retriever", "here:1", BatchConfig(), Metrics(), Device("cpu"))
    batcher = runtime.batcher(encoder)
    batcher.start()
    searcher = Searcher(batcher)
    yield searcher
    await batcher.close()
    searcher.close()
    runtime.close()


def search(mode: Mode, top_k: int = 10) -> Search:
    return Search("pointer", mode, top_k, Weights())


async def test_a_hybrid_search_shows_what_each_leg_made_of_every_candidate(version: Version) -> None:
    async with searching(LengthEncoder()) as searcher:
        findings = await searcher.search(version, search(Mode.HYBRID), NEVER)
    by_id = {passage.document_id: found for found, passage in findings.found}
    assert [passage.document_id for _, passage in findings.found] == ["c", "a", "b"]
    assert {name: found.dense.rank for name, found in by_id.items() if found.dense} == {"b": 1, "c": 2, "a": 3}
    assert {name: found.bm25.rank for name, found in by_id.items() if found.bm25} == {"c": 1, "a": 2}
    assert [found.fused.rank for found, _ in findings.found if found.fused] == [1, 2, 3]
    assert (findings.dense_error, findings.bm25_error) == (None, None)
    assert findings.encoded is not None


async def test_a_single_leg_fuses_nothing(version: Version) -> None:
    async with searching(LengthEncoder()) as searcher:
        dense = await searcher.search(version, search(Mode.DENSE, top_k=2), NEVER)
        sparse = await searcher.search(version, search(Mode.SPARSE), NEVER)
    assert [passage.document_id for _, passage in dense.found] == ["b", "c"]
    assert all(found.bm25 is None and found.fused is None for found, _ in dense.found)
    assert [passage.document_id for _, passage in sparse.found] == ["c", "a"]
    assert all(found.dense is None and found.fused is None for found, _ in sparse.found)


async def test_a_sparse_search_runs_no_model(version: Version) -> None:
    encoder = LengthEncoder()
    async with searching(encoder) as searcher:
        findings = await searcher.search(version, search(Mode.SPARSE), NEVER)
    assert findings.encoded is None
    assert not encoder.started.is_set()


async def test_a_hybrid_search_gives_no_more_than_is_wanted(version: Version) -> None:
    async with searching(LengthEncoder()) as searcher:
        findings = await searcher.search(version, search(Mode.HYBRID, top_k=1), NEVER)
    assert [passage.document_id for _, passage in findings.found] == ["c"]


async def test_bm25_searches_while_the_question_is_encoded(version: Version) -> None:
    encoder = LengthEncoder(seconds=0.2)
    searched_at: list[float] = []

    class Timed(BrokenSparse):
        def search(self, question: str, limit: int, kept: Rows | None = None) -> list[Ranked]:
            assert encoder.started.wait(1)
            searched_at.append(time.monotonic())
            return SparseIndex.search(self, question, limit, kept)

    async with searching(encoder) as searcher:
        await searcher.search(replace(version, sparse=Timed(version.sparse)), search(Mode.HYBRID), NEVER)
    assert len(searched_at) == 1
    assert time.monotonic() - searched_at[0] > 0.1, "BM25 was done before the encoder was"


async def test_a_failing_encoder_leaves_a_hybrid_search_to_bm25(version: Version) -> None:
    error = RuntimeError("poison")
    async with searching(LengthEncoder(error=error)) as searcher:
        findings = await searcher.search(version, search(Mode.HYBRID), NEVER)
    assert [passage.document_id for _, passage in findings.found] == ["c", "a"]
    assert findings.dense_error is error
    assert [found.fused.rank for found, _ in findings.found if found.fused] == [1, 2]


@pytest.mark.parametrize(
    "wanted",
    [Search("pointer", Mode.HYBRID, 10, Weights(bm25=0)), Search("unheard", Mode.HYBRID, 10, Weights())],
    ids=["bm25 counts for nothing", "bm25 finds nothing"],
)
async def test_nothing_found_by_half_a_search_is_an_error_and_no_finding(version: Version, wanted: Search) -> None:
    async with searching(LengthEncoder(error=ArithmeticError("no vector"))) as searcher:
        with pytest.raises(ArithmeticError):
            await searcher.search(version, wanted, NEVER)


async def test_a_late_encoder_leaves_time_to_answer_by_bm25(version: Version) -> None:
    encoder = LengthEncoder(seconds=0.6)
    async with searching(encoder) as searcher:
        deadline = Deadline.after(0.4)
        findings = await searcher.search(version, search(Mode.HYBRID), deadline)
        assert deadline.remaining_s() > 0
        assert encoder.started.is_set()
    assert findings.dense_error is not None
    assert [passage.document_id for _, passage in findings.found] == ["c", "a"]


async def test_a_failing_bm25_leaves_a_hybrid_search_to_the_dense_leg(version: Version) -> None:
    broken = replace(version, sparse=BrokenSparse(version.sparse))
    async with searching(LengthEncoder()) as searcher:
        findings = await searcher.search(broken, search(Mode.HYBRID), NEVER)
    assert isinstance(findings.bm25_error, OSError)
    assert [passage.document_id for _, passage in findings.found] == ["b", "c", "a"]


@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.DENSE], ids=["both legs failed", "the only leg failed"])
async def test_without_a_leg_that_worked_the_encoders_error_is_the_callers(version: Version, mode: Mode) -> None:
    broken = replace(version, sparse=BrokenSparse(version.sparse))
    async with searching(LengthEncoder(error=RuntimeError("poison"))) as searcher:
        with pytest.raises(RuntimeError, match="poison"):
            await searcher.search(broken, search(mode), NEVER)


async def test_a_cancelled_search_frees_its_place_in_the_queue(version: Version) -> None:
    encoder = LengthEncoder(seconds=0.1)
    async with searching(encoder) as searcher:
        first = asyncio.create_task(searcher.search(version, search(Mode.DENSE), NEVER))
        await asyncio.to_thread(encoder.started.wait, 1)
        second = asyncio.create_task(searcher.search(version, search(Mode.HYBRID), NEVER))
        await asyncio.sleep(0.01)
        encoder.started.clear()
        second.cancel()
        await first
        await asyncio.sleep(0.05)
    assert second.cancelled()
    assert not encoder.started.is_set(), "the cancelled question was never encoded"
