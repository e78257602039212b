"""One of the processes that encode a corpus: `python -m services.retriever.build FOLDER`, alone or under torchrun.

It has the indexer's settings (`INDEXER_…`) and tells on standard output, one JSON object a line, what it has done:
`{"passages": 64, "characters": 31200}` for a batch, `{"shard": "…", "encoded": true}` for a shard,
`{"made_by": "…"}` before the first, `{"refusal": "…"}` in place of all that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from chassis import telemetry
from chassis.config import ConfigError, load
from chassis.runtime import default_batch_tokens
from services.retriever.build.encoding import Encoding
from services.retriever.build.ranks import Rank, device_of, end_with_parent, together
from services.retriever.build.work import EncodedShards, Plan
from services.retriever.fingerprint import differences
from services.retriever.indexer.config import IndexerConfig
from services.retriever.indexer.publisher import Recipe
from services.retriever.indexer.splitter import Document, Splitter
from services.retriever.indexer.wire import document_blocking
from services.retriever.loader import load_encoder_blocking
from services.retriever.passage import Passage
from trivium.v1 import indexer_pb2, passage_pb2

REFUSED = 2


def build(folder: Path, config: IndexerConfig) -> None:
    """This rank's share of what is not encoded yet. Raises ConfigError, OSError."""
    rank = Rank.here()
    device = device_of(config.device, rank)
    encoder = load_encoder_blocking(config, "passage", device.torch_name)
    splitter = Splitter(encoder.token_ends(), min(config.max_passage_tokens, encoder.max_text_tokens))
    recipe = Recipe(encoder.fingerprint, splitter.fingerprint, encoder.dimension)
    plan = Plan.read(folder)
    _require_like(plan, recipe)
    encoding = Encoding(encoder, splitter, config.max_batch_tokens or default_batch_tokens(device))
    work = EncodedShards(folder, recipe.made_by)
    if rank.rank == 0:
        work.remove_partial()
        tell(made_by=recipe.made_by)
    with together(device, rank) as barrier:
        left = [shard for shard in plan.shards if not work.is_done(shard)]
        barrier()  # so that every rank sees the same left
        for shard in left[rank.rank :: rank.world_size]:
            encode(work, shard, encoding, recipe)
            tell(shard=shard, encoded=True)


def encode(work: EncodedShards, shard: str, encoding: Encoding, recipe: Recipe) -> None:
    """Split and encode one shard."""
    messages = list(_messages(work.documents_path(shard)))
    documents = [document_blocking(message) for message in messages]
    passages = encoding.passages(documents)
    flat = [passage for of_document in passages for passage in of_document]
    work.write(
        shard,
        (len(flat), recipe.dimension),
        lambda file: _write_passages(file, messages, documents, passages, recipe.made_by),
        lambda vectors: encoding.fill(vectors, flat, lambda number, length: tell(passages=number, characters=length)),
    )


def tell(**fields: object) -> None:
    """One line in one write: those of several processes never mix."""
    os.write(sys.stdout.fileno(), json.dumps(fields).encode() + b"\n")


def _require_like(plan: Plan, recipe: Recipe) -> None:
    if different := differences(plan.fingerprint, recipe.fingerprint) if plan.fingerprint else {}:
        found = "; ".join(f"{name} ({difference})" for name, difference in different.items())
        raise ConfigError(f"the settings here (INDEXER_…) are not those of the indexer: {found}")


def _messages(path: Path) -> Iterator[indexer_pb2.Document]:
    with path.open("rb") as file:
        stream: Any = file  # the library's type is narrower than what it reads
        while (message := parse_length_prefixed(indexer_pb2.Document, stream)) is not None:
            yield message


def _write_passages(
    file: Any,
    messages: Sequence[indexer_pb2.Document],
    documents: Sequence[Document],
    passages: Sequence[Sequence[Passage]],
    made_by: str,
) -> None:
    for message, document, of_document in zip(messages, documents, passages, strict=True):
        encoded = indexer_pb2.EncodedDocument(document=message, made_by=made_by, content_hash=document.content_hash)
        del encoded.document.sections[:]
        encoded.document.sections.extend(_section(document, passage) for passage in of_document)
        serialize_length_prefixed(encoded, file)


def _section(document: Document, passage: Passage) -> indexer_pb2.Section:
    return indexer_pb2.Section(
        heading_path=passage.heading_path,
        text=passage.text,
        page=passage.page,
        range=passage_pb2.CharacterRange(start=passage.start, end=passage.end),
        uri="" if passage.uri == document.uri else passage.uri,
    )


def main(folder: str) -> int:
    end_with_parent()
    telemetry.configure_logging("build")
    try:
        build(Path(folder), load(IndexerConfig, "INDEXER"))
    except ConfigError as error:
        tell(refusal=str(error))
        return REFUSED
    except OSError as error:
        tell(refusal=f"{error.filename or folder}: {error.strerror or error}")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
