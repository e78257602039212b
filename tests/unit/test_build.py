"""What a build encodes follows from its documents alone, and is found by them and by who encodes."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from chassis import device
from chassis.config import ConfigError
from chassis.device import Device
from cli.bulk.progress import Stages
from cli.bulk.shards import read_encoded, unfinished, write_documents, write_plan
from cli.bulk.torchrun import Encoding as Told
from services.retriever.build.encoding import Encoding
from services.retriever.build.ranks import Rank, device_of
from services.retriever.build.work import EncodedShards, Plan
from trivium.v1 import indexer_pb2

COSTS = [3, 50, 7, 7, 120, 1, 9, 30]


class Sized:
    """As much of an encoder as cutting batches needs."""

    def __init__(self, pads: bool) -> None:
        self.pads = pads


def batches(costs: list[int], max_batch_tokens: int, pads: bool = False) -> list[list[int]]:
    encoder: Any = Sized(pads)
    splitter: Any = None
    return list(Encoding(encoder, splitter, max_batch_tokens).batches(costs))


def document(name: str, text: str) -> indexer_pb2.Document:
    return indexer_pb2.Document(document_id=name, sections=[indexer_pb2.Section(text=text)])


def test_a_batch_has_passages_of_like_length_and_each_is_in_one() -> None:
    assert batches(COSTS, 60) == [[4], [1], [7, 6, 2, 3, 0, 5]]
    assert batches([], 60) == []


def test_where_padding_is_computed_it_counts() -> None:
    assert batches(COSTS, 60, pads=True) == [[4], [1], [7, 6], [2, 3, 0, 5]]


def test_documents_are_cut_into_shards_that_are_named_by_what_they_hold(tmp_path: Path) -> None:
    documents = [document(f"{number}", "x" * 40) for number in range(5)]
    shards = write_documents(tmp_path / "one", documents, shard_characters=80)
    assert [shard.num_characters for shard in shards] == [80, 80, 40]
    assert write_documents(tmp_path / "two", documents, shard_characters=80) == shards
    documents[0].title = "another"
    changed = write_documents(tmp_path / "one", documents, shard_characters=80)
    assert changed[0] != shards[0]
    assert changed[1:] == shards[1:]


def test_what_another_encoder_made_of_a_shard_is_not_taken(tmp_path: Path) -> None:
    shards = write_documents(tmp_path, [document("a", "text")])
    write_plan(tmp_path, shards, {"encoder.kind": "sentence"})
    assert Plan.read(tmp_path) == Plan((shards[0].name,), {"encoder.kind": "sentence"})
    work = EncodedShards(tmp_path, "ours")
    encoded = indexer_pb2.EncodedDocument(document=document("a", "text"), made_by="ours")
    content = encoded.SerializeToString()

    def write(file: IO[bytes]) -> None:
        file.write(bytes([len(content)]) + content)

    def fill(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        vectors[:] = 7

    work.write(shards[0].name, (1, 3), write, fill)
    assert unfinished(tmp_path, shards, "ours") == []
    assert unfinished(tmp_path, shards, "theirs") == shards
    [one] = read_encoded(tmp_path, shards, "ours")
    assert one.document == document("a", "text")
    np.testing.assert_array_equal(np.frombuffer(one.encoded.vectors, "<f4"), [7, 7, 7])


def test_a_shard_whose_encoding_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    work = EncodedShards(tmp_path, "ours")

    def fail(vectors: object) -> None:
        raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError):
        work.write("shard", (1, 3), lambda file: None, fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_each_of_several_processes_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [Device(f"cuda:{number}", f"GPU-{number}") for number in range(2)]
    monkeypatch.setattr(device, "visible_gpus", lambda: gpus)
    assert device_of("auto", Rank(1, 1, 2)).torch_name == "cuda:1"
    assert device_of("cuda:1", Rank(0, 0, 1)).torch_name == "cuda:1"
    assert device_of("cpu", Rank(1, 1, 2)).torch_name == "cpu"
    with pytest.raises(ConfigError, match="each of 3 processes needs a GPU of its own"):
        device_of("auto", Rank(2, 2, 3))


def test_progress_tells_passages_a_second_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    now = 0.0
    monkeypatch.setattr("cli.bulk.progress.time.monotonic", lambda: now)
    console = Console(record=True, width=120, quiet=False)
    stages = Stages(console)
    stages.begin("encoding", 1_000, "characters")
    now = 40.0
    stages.encoded(Told(num_passages=80, num_characters=250))
    assert console.export_text() == "encoding: 25%, 80 passages, 2/s, 0:02:00 left\n"
