"""The log keeps what it acknowledged and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.retriever import record as records
from services.retriever.indexer.log import CorruptLog, Log
from services.retriever.passage import Passage
from services.retriever.record import FILE_NAME, Delete, Location, Record, Rollback, Upsert
from tests.unit.collections_on_disk import file_size_limit


def record(document_id: str, num_passages: int = 2) -> Upsert:
    passages = tuple(
        Passage(f"{document_id}#{number}", document_id, "T", ("H",), f"text {number} 中文", "", None, 0, 9)
        for number in range(num_passages)
    )
    generator = np.random.default_rng(len(document_id))
    vectors = generator.normal(size=(num_passages, 4)).astype(np.float32)
    return Upsert(document_id, f"hash of {document_id}", "made by", passages, vectors)


def open_log(directory: Path, replay: Callable[[Location, Record], None] = lambda *_: None) -> Log:
    return Log(directory, replay)


def ids(directory: Path) -> list[str]:
    """What is replayed when the log is opened."""
    found: list[Record] = []
    open_log(directory, lambda _, record: found.append(record)).close()
    return [record.document_id for record in found if isinstance(record, Upsert)]


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    locations = [*log.append([record("a"), record("b")]), *log.append([record("c", 5)])]
    again = open_log(tmp_path)
    assert ids(tmp_path) == ["a", "b", "c"]
    assert again.end == log.end
    found = again.read(locations[2])
    assert found.passages == record("c", 5).passages
    np.testing.assert_array_equal(found.vectors, record("c", 5).vectors)


def test_a_tail_cut_at_any_byte_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append([record("a")])
    kept = log.end
    log.append([record("b", 1)])
    whole = (tmp_path / FILE_NAME).read_bytes()
    for length in range(kept, len(whole)):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        assert ids(tmp_path) == ["a"]
        assert (tmp_path / FILE_NAME).stat().st_size == kept


def test_after_a_dropped_tail_appending_goes_on(tmp_path: Path) -> None:
    open_log(tmp_path).append([record("a")])
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b"TRV1 half a frame")
    log = open_log(tmp_path)
    log.append([record("b")])
    assert ids(tmp_path) == ["a", "b"]


def test_zeros_that_a_crash_left_at_the_end_are_dropped(tmp_path: Path) -> None:
    open_log(tmp_path).append([record("a")])
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(bytes(4_096))
    assert ids(tmp_path) == ["a"]


def test_a_group_whose_first_frame_did_not_reach_the_disk_is_dropped_whole(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append([record("a")])
    first, _ = log.append([record("b"), record("c")])
    damage(tmp_path, first.offset + 30)
    assert ids(tmp_path) == ["a"]


@pytest.mark.parametrize("within", [0, 5, 9, 15, 40, 90], ids=["magic", "length", "crc", "group", "json", "vectors"])
def test_a_damaged_record_that_had_been_acknowledged_is_never_dropped(tmp_path: Path, within: int) -> None:
    log = open_log(tmp_path)
    first, *_ = log.append([record("a")])
    log.append([record("b")])
    damage(tmp_path, first.offset + within)
    with pytest.raises(CorruptLog, match=FILE_NAME):
        open_log(tmp_path)


def test_reading_a_damaged_record_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    [location] = log.append([record("a")])
    damage(tmp_path, location.offset + location.length - 1)
    with pytest.raises(CorruptLog):
        log.read(location)


def test_a_record_that_the_disk_refuses_leaves_no_trace(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append([record("a")])
    with file_size_limit(log.end + 100), pytest.raises(OSError, match="File too large"):
        log.append([record("b"), record("c")])
    assert (tmp_path / FILE_NAME).stat().st_size == log.end
    log.append([record("d")])
    assert ids(tmp_path) == ["a", "d"]


def damage(directory: Path, offset: int) -> None:
    with (directory / FILE_NAME).open("r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def test_a_record_that_other_software_wrote_is_refused_and_never_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other_software:
        other_software.setattr(records, "UPSERT", "upsert/9")
        open_log(tmp_path).append([record("a")])
    size = (tmp_path / FILE_NAME).stat().st_size
    with pytest.raises(CorruptLog, match=f"{FILE_NAME}: the record at 0 is of kind upsert/9"):
        open_log(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_size == size


def test_what_passages_share_is_written_once(tmp_path: Path) -> None:
    long = record("a", 100)
    headings = ("H" * 500,) * 16
    passages = tuple(replace(passage, title="T" * 1_000, heading_path=headings, uri="u") for passage in long.passages)
    log = open_log(tmp_path)
    [location] = log.append([replace(long, passages=passages)])
    assert log.read(location).passages == passages
    assert location.length < 9_100 + 100 * 100


def test_deletions_and_rollbacks_are_replayed_as_they_were_written(tmp_path: Path) -> None:
    records: list[Record] = [record("a"), Delete(("a", "中文")), Rollback(123)]
    open_log(tmp_path).append(records)
    found: list[Record] = []
    open_log(tmp_path, lambda _, one: found.append(one)).close()
    assert found[1:] == records[1:]


def test_a_deletion_is_no_document(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    [location] = log.append([Delete(("a",))])
    with pytest.raises(CorruptLog, match="the record at 0 is no document"):
        log.read(location)
