"""Documents that bring their passages and vectors are believed as far as they were checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from services.retriever.config import EncoderConfig
from services.retriever.encoder import Text
from services.retriever.indexer.config import IndexerConfig
from services.retriever.indexer.encoded import SAMPLED_FIRST, is_sampled
from services.retriever.indexer.service import IndexerService
from services.retriever.loader import load_encoder_blocking
from tests.unit.seeded_encoders import write_dpr_pair, write_sentence_encoder
from tests.unit.test_retriever_service import Installation, create, detail, installed, refused, serving
from trivium.v1 import indexer_pb2, indexer_pb2_grpc, retriever_pb2

TEXTS = ("the writer", "a reader of the index", "one passage and a question")


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> EncoderConfig:
    collections_path = tmp_path / "collections"
    if getattr(request, "param", "sentence") == "dpr":
        question, passage = write_dpr_pair(tmp_path / "model")
        return EncoderConfig(
            model=str(question), passage_model=str(passage), encoder="dpr", collections_path=collections_path
        )
    return EncoderConfig(model=str(write_sentence_encoder(tmp_path / "model")), collections_path=collections_path)


@pytest.fixture
async def installation(config: EncoderConfig) -> AsyncIterator[Installation]:
    async with installed(config) as installation:
        await create(installation, "default")
        yield installation


def encode(config: EncoderConfig, *texts: Text) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What somebody else makes of them, with the same model."""
    encoder = load_encoder_blocking(config, "passage", "cpu")
    return np.stack([one.vector for one in encoder.run(encoder.prepare(texts))])


def document(document_id: str, *texts: str, title: str = "") -> indexer_pb2.Document:
    sections = [indexer_pb2.Section(text=text) for text in texts]
    return indexer_pb2.Document(document_id=document_id, title=title, sections=sections)


def encoded(config: EncoderConfig, document_id: str, *texts: str, title: str = "") -> indexer_pb2.EncodedDocument:
    vectors = encode(config, *(Text(text, title) for text in texts))
    return indexer_pb2.EncodedDocument(
        document=document(document_id, *texts, title=title), vectors=vectors.astype("<f4").tobytes()
    )


async def send(
    installation: Installation, *documents: indexer_pb2.EncodedDocument, check_only: bool = False
) -> list[indexer_pb2.UpsertDocumentsResponse]:
    requests = [indexer_pb2.UpsertDocumentsRequest(encoded=one, check_only=check_only) for one in documents]
    return [one async for one in installation.indexer.UpsertDocuments(iter(requests))]


async def rejection(installation: Installation, document: indexer_pb2.EncodedDocument) -> indexer_pb2.Rejection:
    [response] = await send(installation, document)
    assert response.outcome == indexer_pb2.UPSERT_OUTCOME_REJECTED
    return response.rejection


async def described(installation: Installation) -> indexer_pb2.GetCollectionResponse:
    return await installation.indexer.GetCollection(indexer_pb2.GetCollectionRequest())


@pytest.mark.parametrize("config", ["sentence", "dpr"], indirect=True)
async def test_a_document_that_brings_its_vectors_is_found_as_one_that_was_encoded_here(
    config: EncoderConfig, installation: Installation
) -> None:
    [response] = await send(installation, encoded(config, "brought", *TEXTS, title="A title"))
    assert (response.outcome, response.num_passages) == (indexer_pb2.UPSERT_OUTCOME_CREATED, 3)
    [again] = await send(installation, encoded(config, "brought", *TEXTS, title="A title"))
    assert again.outcome == indexer_pb2.UPSERT_OUTCOME_UNCHANGED
    await installation.upsert([document("made here", TEXTS[0], title="A title")])
    version = await installation.publish()
    found = await installation.retrieve("a reader", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=version)
    score_by_id = {one.passage.passage_id: one.scores.dense_score for one in found.candidates}
    assert score_by_id.keys() == {"brought#0", "brought#1", "brought#2", "made here#0"}
    assert score_by_id["brought#0"] == pytest.approx(score_by_id["made here#0"], abs=1e-4)


async def test_what_brought_its_vectors_is_searched_before_the_next_version(
    config: EncoderConfig, installation: Installation
) -> None:
    await installation.upsert([document("first", "the first")])
    version = await installation.publish()
    await installation.retrieve("a reader", min_index_version=version)
    one = encoded(config, "brought", *TEXTS)
    await send(installation, one)

    async def is_found() -> bool:
        found = await installation.retrieve("a reader", mode=retriever_pb2.RETRIEVAL_MODE_DENSE)
        return any(candidate.passage.document_id == "brought" for candidate in found.candidates)

    give_up_at = asyncio.get_running_loop().time() + 20
    while not await is_found():
        assert asyncio.get_running_loop().time() < give_up_at
        await asyncio.sleep(0.05)


async def test_passages_from_elsewhere_stay_valid_when_the_splitter_changes_and_not_when_the_encoder_does(
    config: EncoderConfig, tmp_path: Path
) -> None:
    brought = encoded(config, "brought", *TEXTS)
    async with installed(config) as installation:
        await create(installation, "default")
        await send(installation, brought)
        before = await installation.publish()
    changed = IndexerConfig(**asdict(config), max_passage_tokens=20)
    async with serving(changed, "indexer", IndexerService) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        assert (await stub.PublishVersion(indexer_pb2.PublishVersionRequest())).index_version > before
    other = replace(config, model=str(write_sentence_encoder(tmp_path / "other", seed=5)))
    async with serving(IndexerConfig(**asdict(other)), "indexer", IndexerService) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        error = await refused(
            stub.PublishVersion(indexer_pb2.PublishVersionRequest()), grpc.StatusCode.FAILED_PRECONDITION
        )
        assert detail(error, error_details_pb2.ErrorInfo()).reason == "ENCODER_MISMATCH"


async def test_what_is_wrong_is_named_by_field(config: EncoderConfig, installation: Installation) -> None:
    good = encoded(config, "a", *TEXTS)

    async def field(**fields: Any) -> str:
        one = indexer_pb2.EncodedDocument()
        one.CopyFrom(good)
        for name, value in fields.items():
            if name == "document":
                one.document.CopyFrom(value)
            else:
                setattr(one, name, value)
        return (await rejection(installation, one)).field

    poisoned = np.frombuffer(good.vectors, "<f4").copy()
    poisoned[5] = np.nan
    endless = poisoned.copy()
    endless[5] = np.inf
    assert await field(vectors=good.vectors[:-4]) == "encoded.vectors"
    assert await field(vectors=b"") == "encoded.vectors"
    assert await field(vectors=poisoned.tobytes()) == "encoded.vectors"
    assert await field(vectors=endless.tobytes()) == "encoded.vectors"
    assert await field(content_hash="ABC") == "encoded.content_hash"
    assert await field(document=document("", *TEXTS)) == "encoded.document.document_id"
    assert await field(document=document("a", "x", "", "y")) == "encoded.document.sections[1].text"
    assert (await described(installation)).collection.num_documents == 0


async def test_vectors_of_something_else_are_rejected_and_a_rounded_one_is_not(
    config: EncoderConfig, installation: Installation
) -> None:
    good = encoded(config, "a", TEXTS[0])
    vector = np.frombuffer(good.vectors, "<f4")
    one = indexer_pb2.EncodedDocument()
    one.CopyFrom(good)
    for wrong in (-vector, vector * 1.2, encode(config, Text(TEXTS[1]))[0]):
        one.vectors = wrong.astype("<f4").tobytes()
        rejected = await rejection(installation, one)
        assert rejected.field == "encoded.vectors"
        assert "cosine" in rejected.description
    one.vectors = (vector * 1.01).astype("<f4").tobytes()
    [response] = await send(installation, one)
    assert response.outcome == indexer_pb2.UPSERT_OUTCOME_CREATED


async def test_what_is_only_checked_is_not_stored(config: EncoderConfig, installation: Installation) -> None:
    long = encoded(config, "long", "a passage of the index " * 60, TEXTS[0])
    [response] = await send(installation, long, check_only=True)
    assert response.outcome == indexer_pb2.UPSERT_OUTCOME_CHECKED
    assert (response.num_passages, response.num_long_passages) == (2, 1)
    assert (await described(installation)).collection.num_documents == 0


async def test_who_says_that_another_encoder_made_it_is_told_so(
    config: EncoderConfig, installation: Installation
) -> None:
    one = encoded(config, "a", *TEXTS)
    one.made_by = "0123456789abcdef"
    error = await refused(send(installation, one), grpc.StatusCode.FAILED_PRECONDITION)
    assert detail(error, error_details_pb2.ErrorInfo()).reason == "ENCODER_MISMATCH"
    indexer = await described(installation)
    assert indexer.dimension == len(one.vectors) // 4 // len(TEXTS)
    assert indexer.fingerprint["encoder.kind"] == config.encoder
    assert "splitter.max_tokens" in indexer.fingerprint
    one.made_by = indexer.made_by
    [response] = await send(installation, one)
    assert response.outcome == indexer_pb2.UPSERT_OUTCOME_CREATED


async def test_a_request_is_one_of_both_kinds(config: EncoderConfig, installation: Installation) -> None:
    both = indexer_pb2.UpsertDocumentsRequest(document=document("a", "b"), encoded=encoded(config, "a", "b"))
    checked = indexer_pb2.UpsertDocumentsRequest(document=document("a", "b"), check_only=True)
    for request in (both, checked):
        stream = installation.indexer.UpsertDocuments(iter([request]))
        await refused(asyncio.ensure_future(anext(aiter(stream))), grpc.StatusCode.INVALID_ARGUMENT)


def test_the_first_documents_of_a_stream_are_sampled_and_then_one_in_a_hundred() -> None:
    sampled = [number for number in range(1_000) if is_sampled(number)]
    assert sampled == [*range(SAMPLED_FIRST), *range(100, 1_000, 100)]
