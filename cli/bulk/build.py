"""`trivium build`: files are read here, encoded by processes of their own, and stored by the indexer as they are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cli.bulk.failure import disk_errors
from cli.bulk.progress import Stages, stages_shown
from cli.bulk.shards import SHARD_CHARACTERS, Shard, read_encoded, unfinished, write_documents, write_plan
from cli.bulk.torchrun import Encoding, encode
from cli.collection import TIMEOUT_S
from cli.connection import calling, open_channel, wait_until_serving
from cli.ingest import show
from cli.reading.limits import MAX_MESSAGE_BYTES, MAX_SECTIONS
from cli.reading.near_duplicates import NearDuplicates
from cli.reading.read import Reading, ReadOptions, count_files, read_all
from cli.summary import Summary
from cli.upload import Transfer, Upload, ensure_collection, prune, publish
from trivium.v1 import indexer_pb2, indexer_pb2_grpc


@dataclass(frozen=True)
class BuildOptions:
    """How a corpus is encoded."""

    folder: Path
    """Where documents and vectors lie meanwhile. Started again with the same folder, a build goes on."""
    num_processes: int
    num_threads: int
    """Of each process. The same vectors, bit for bit, come of the same number alone."""
    shard_characters: int = SHARD_CHARACTERS


@dataclass
class Built:
    """What a build did."""

    summary: Summary
    num_shards: int = 0
    """Into which the documents to be encoded were cut."""
    encoding: Encoding = field(default_factory=Encoding)
    encoding_s: float = 0.0


def build(target: Upload, paths: Sequence[Path], options: ReadOptions, how: BuildOptions, as_json: bool) -> bool:
    """Encode, store and publish the documents under `paths`. True when nothing was rejected."""
    with stages_shown() as stages, disk_errors(how.folder):
        built = build_readings(target, read_all(paths, options), count_files(paths), how, stages)
    if as_json:
        print(json.dumps(to_dict(built), ensure_ascii=False))
    else:
        console = Console()
        show(built.summary, console)
        console.print(_line(built), soft_wrap=True, highlight=False)
    return not built.summary.rejections


def build_readings(
    target: Upload, readings: Iterable[Reading], num_files: int, how: BuildOptions, stages: Stages
) -> Built:
    """Raises CallFailed, BulkFailed, ProcessFailed, OSError; what is encoded by then is not encoded again."""
    built = Built(Summary(target.collection))
    summary = built.summary
    if target.wait_s > 0:
        wait_until_serving("indexer", target.address, target.wait_s)
    with calling("indexer", target.address), open_channel(target.address) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        ensure_collection(stub, target)
        indexer = stub.GetCollection(indexer_pb2.GetCollectionRequest(name=target.collection), timeout=TIMEOUT_S)
        transfer = Transfer(stub, summary, NearDuplicates(), lambda summary: stages.stored(summary.num_passages))
        transfer.look()
        stages.begin("reading", num_files, "files")
        requests = stages.counted(transfer.requests(readings))
        shards = write_documents(how.folder, (one.document for one in requests), how.shard_characters)
        built.num_shards = len(shards)
        if shards:
            write_plan(how.folder, shards, indexer.fingerprint)
            _encode(built, shards, indexer.made_by, how, stages)
            stages.begin("storing", built.encoding.num_passages, "passages")
            encoded = _encoded_requests(target.collection, how.folder, shards, indexer.made_by)
            transfer.receive(stub.UpsertDocuments(encoded, timeout=TIMEOUT_S))
        if target.prune:
            prune(stub, summary, transfer.unread_ids())
        if summary.is_any_accepted:
            stages.begin("publishing", 0, "")
            publish(stub, summary)
    return built


def _encode(built: Built, shards: Sequence[Shard], made_by: str, how: BuildOptions, stages: Stages) -> None:
    left = unfinished(how.folder, shards, made_by)
    if not left:
        return
    stages.begin("encoding", sum(shard.num_characters for shard in left), "characters")
    began_at = time.monotonic()
    built.encoding = encode(how.folder, how.num_processes, how.num_threads, stages.encoded)
    built.encoding_s = time.monotonic() - began_at


def _encoded_requests(
    collection: str, folder: Path, shards: Sequence[Shard], made_by: str
) -> Iterator[indexer_pb2.UpsertDocumentsRequest]:
    for one in read_encoded(folder, shards, made_by):
        request = indexer_pb2.UpsertDocumentsRequest(collection=collection, encoded=one.encoded)
        if request.ByteSize() > MAX_MESSAGE_BYTES or len(one.encoded.document.sections) > MAX_SECTIONS:
            # Its vectors do not fit a message: the indexer makes them itself.
            request = indexer_pb2.UpsertDocumentsRequest(collection=collection, document=one.document)
        yield request


def to_dict(built: Built) -> dict[str, object]:
    """For `--json`."""
    return {
        **built.summary.to_dict(),
        "num_shards": built.num_shards,
        "num_encoded_shards": built.encoding.num_shards,
        "num_encoded_passages": built.encoding.num_passages,
        "encoding_s": round(built.encoding_s, 3),
    }


def _line(built: Built) -> str:
    done, rate = built.encoding, built.encoding.num_passages / built.encoding_s if built.encoding_s else 0.0
    return (
        f"encoded {done.num_passages:,} passages in {built.encoding_s:,.0f} s ({rate:,.0f}/s, models' loading "
        f"included); {done.num_shards:,} of {built.num_shards:,} shards, the others were there"
    )
