"""Indexer and retriever over real servers on free ports, with a small seeded encoder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import attributes
from chassis.config import ConfigError
from chassis.device import Device
from chassis.errors import Overloaded
from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from chassis.runtime import Runtime
from chassis.server import Service
from services.retriever.config import EncoderConfig, RetrieverConfig
from services.retriever.indexer.config import IndexerConfig
from services.retriever.indexer.service import IndexerService
from services.retriever.search import Findings
from services.retriever.service import RetrieverService
from services.retriever.service import _degraded as degraded
from tests.unit.collections_on_disk import file_size_limit
from tests.unit.seeded_encoders import write_dpr_pair, write_sentence_encoder
from trivium.v1 import indexer_pb2, indexer_pb2_grpc, retriever_pb2, retriever_pb2_grpc

if TYPE_CHECKING:  # in the stubs' stubs only
    IndexerStub = indexer_pb2_grpc.IndexerServiceAsyncStub
    RetrieverStub = retriever_pb2_grpc.RetrieverServiceAsyncStub

DOCUMENTS = {
    "pointer": "A reader follows the pointer. The flip is atomic.",
    "log": "The log is on disk before the writer acknowledges.",
    "splitter": "Passages are cut at sentences.",
}


@contextlib.asynccontextmanager
async def serving(config: EncoderConfig, name: str, service_class: Any) -> AsyncIterator[grpc.aio.Channel]:
    metrics = Metrics()
    runtime = Runtime(name, "here:1", config, metrics, Device("cpu"))
    service: Service = service_class(config, runtime)
    interceptor = ServerInterceptor(metrics, config.default_deadline_s, config.max_deadline_s)
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    service.register(server)
    try:
        await service.start()
        interceptor.ready = True
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)
        await service.stop()
        runtime.close()


@dataclass(frozen=True)
class Installation:
    indexer: IndexerStub
    retriever: RetrieverStub

    async def upsert(
        self, documents: Iterable[indexer_pb2.Document], collection: str = ""
    ) -> dict[str, indexer_pb2.UpsertDocumentsResponse]:
        requests = [
            indexer_pb2.UpsertDocumentsRequest(collection=collection, document=document) for document in documents
        ]
        return {one.document_id: one async for one in self.indexer.UpsertDocuments(iter(requests))}

    async def publish(self, collection: str = "") -> int:
        published = await self.indexer.PublishVersion(indexer_pb2.PublishVersionRequest(collection=collection))
        return published.index_version

    async def retrieve(self, question: str, **fields: Any) -> retriever_pb2.RetrieveResponse:
        return await self.retriever.Retrieve(retriever_pb2.RetrieveRequest(question=question, **fields))


@pytest.fixture
def config(tmp_path: Path) -> EncoderConfig:
    model = write_sentence_encoder(tmp_path / "model")
    return EncoderConfig(model=str(model), collections_path=tmp_path / "collections")


@contextlib.asynccontextmanager
async def installed(config: EncoderConfig) -> AsyncIterator[Installation]:
    told = asdict(config)
    async with (
        serving(IndexerConfig(**told), "indexer", IndexerService) as indexer,
        serving(RetrieverConfig(**told, poll_interval_s=0.01), "retriever", RetrieverService) as retriever,
    ):
        yield Installation(
            indexer_pb2_grpc.IndexerServiceStub(indexer), retriever_pb2_grpc.RetrieverServiceStub(retriever)
        )


@pytest.fixture
async def empty(config: EncoderConfig) -> AsyncIterator[Installation]:
    """Both processes, and no collection."""
    async with installed(config) as installation:
        yield installation


@pytest.fixture
async def filled(empty: Installation) -> Installation:
    """Both processes; the collection `default` is published."""
    await create(empty, "default")
    await empty.upsert(document(name, text) for name, text in DOCUMENTS.items())
    assert await empty.publish() == 1
    return empty


async def create(installation: Installation, name: str, **analyzer: Any) -> indexer_pb2.Collection:
    request = indexer_pb2.CreateCollectionRequest(name=name, analyzer=indexer_pb2.Analyzer(**analyzer))
    return (await installation.indexer.CreateCollection(request)).collection


def document(document_id: str, *texts: str, title: str = "") -> indexer_pb2.Document:
    sections = [indexer_pb2.Section(text=text) for text in texts]
    return indexer_pb2.Document(document_id=document_id, title=title, sections=sections)


def detail(error: grpc.aio.AioRpcError, message: Any) -> Any:
    metadata = dict(error.trailing_metadata() or ())
    (packed,) = status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details
    assert packed.Unpack(message)
    return message


async def refused(call: Any, code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() == code
    return raised.value


# Retrieving


async def test_a_published_document_is_found_by_both_legs(filled: Installation) -> None:
    found = await filled.retrieve("Who follows the pointer?", min_index_version=1)
    assert found.index_version == 1
    assert not found.degraded
    assert len(found.candidates) == 3
    [best] = [one for one in found.candidates if one.passage.document_id == "pointer"]
    assert best.scores.bm25_rank == 1
    assert best.scores.HasField("dense_rank")
    assert [one.scores.fused_rank for one in found.candidates] == [1, 2, 3]
    assert best.passage.text == DOCUMENTS["pointer"]
    assert (best.passage.range.start, best.passage.range.end) == (0, len(DOCUMENTS["pointer"]))
    assert (found.stats.stage, found.stats.batch_size, found.stats.truncated_tokens) == ("retriever", 1, 0)
    assert found.stats.tokens > 0


async def test_a_leg_that_did_not_search_leaves_no_score(filled: Installation) -> None:
    dense = await filled.retrieve("pointer", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=1)
    sparse = await filled.retrieve("pointer", mode=retriever_pb2.RETRIEVAL_MODE_SPARSE, min_index_version=1)
    assert {field.name for field, _ in dense.candidates[0].scores.ListFields()} == {"dense_score", "dense_rank"}
    assert {field.name for field, _ in sparse.candidates[0].scores.ListFields()} == {"bm25_score", "bm25_rank"}
    assert sparse.stats.model == ""


async def test_a_chinese_document_is_found_by_a_two_character_word_through_bm25(empty: Installation) -> None:
    await create(empty, "zh", language="zh")
    texts = {"天气": "今天天气很好，我们去公园。", "检索": "检索增强生成把检索和生成结合在一起。"}
    await empty.upsert([document(name, text) for name, text in texts.items()], "zh")
    await empty.publish("zh")
    found = await empty.retrieve("检索", collection="zh", mode=retriever_pb2.RETRIEVAL_MODE_SPARSE, min_index_version=1)
    assert [one.passage.document_id for one in found.candidates] == ["检索"]


async def test_an_explained_search_finds_the_same_and_shows_the_rest(filled: Installation) -> None:
    asked: dict[str, Any] = {"question": "Who follows the pointer?", "top_k": 1, "min_index_version": 1}
    plain = await filled.retrieve(**asked)
    explained = await filled.retrieve(**asked, explain=True)
    assert explained.candidates == plain.candidates
    assert not plain.HasField("explanation")
    left_out = explained.explanation.left_out
    assert [one.scores.fused_rank for one in left_out] == [2, 3]
    found = [*explained.candidates, *left_out]
    assert sorted(one.scores.dense_rank for one in found) == [1, 2, 3]
    assert {one.passage.document_id for one in found} == set(DOCUMENTS)
    assert explained.explanation.leg_limit == 100
    assert not explained.explanation.HasField("standing")


async def test_a_passage_stands_where_each_leg_ranks_it(filled: Installation) -> None:
    asked: dict[str, Any] = {"question": "Who follows the pointer?", "min_index_version": 1, "explain": True}
    standing = (await filled.retrieve(**asked, passage_id="splitter#0")).explanation.standing
    assert standing.passage.text == DOCUMENTS["splitter"]
    assert {field.name for field, _ in standing.scores.ListFields()} == {"dense_score", "dense_rank"}
    assert standing.limit == 2_000
    assert 1 <= standing.needed_top_k <= 3


async def test_a_passage_that_is_not_there_is_not_found(filled: Installation) -> None:
    call = filled.retrieve("pointer", min_index_version=1, explain=True, passage_id="pointer#1")
    error = await refused(call, grpc.StatusCode.NOT_FOUND)
    found = detail(error, error_details_pb2.ResourceInfo())
    assert (found.resource_type, found.resource_name) == ("passage", "pointer#1")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": " \n"}, "question"),
        ({"question": "x" * 8_193}, "question"),
        ({"collection": "../secrets"}, "collection"),
        ({"collection": "A"}, "collection"),
        ({"mode": 9}, "mode"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 1_001}, "top_k"),
        ({"passage_id": "", "explain": True}, "passage_id"),
        ({"fusion": {"dense_weight": float("nan")}}, "fusion.dense_weight"),
        ({"fusion": {"bm25_weight": -1}}, "fusion.bm25_weight"),
        ({"fusion": {"rrf_k": 0}}, "fusion.rrf_k"),
        ({"fusion": {"dense_weight": 0, "bm25_weight": 0}}, "fusion"),
    ],
    ids=str,
)
async def test_a_malformed_question_is_refused_by_field(
    empty: Installation, fields: dict[str, Any], field: str
) -> None:
    error = await refused(empty.retrieve(**{"question": "x", **fields}), grpc.StatusCode.INVALID_ARGUMENT)
    found = detail(error, error_details_pb2.BadRequest())
    assert [violation.field for violation in found.field_violations] == [field]


async def test_an_unknown_collection_is_not_found(empty: Installation) -> None:
    await refused(empty.retrieve("x", collection="absent"), grpc.StatusCode.NOT_FOUND)


async def test_a_collection_that_was_never_published_says_so(empty: Installation) -> None:
    await create(empty, "default")
    error = await refused(empty.retrieve("x"), grpc.StatusCode.FAILED_PRECONDITION)
    assert detail(error, error_details_pb2.ErrorInfo()).reason == "INDEX_NOT_PUBLISHED"


async def test_waiting_for_a_version_ends_with_the_deadline(filled: Installation) -> None:
    request = retriever_pb2.RetrieveRequest(question="x", min_index_version=2)
    await refused(filled.retriever.Retrieve(request, timeout=0.2), grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_another_encoders_index_is_refused_with_what_differs(
    config: EncoderConfig, filled: Installation, tmp_path: Path
) -> None:
    other = write_sentence_encoder(tmp_path / "other", pooling="cls")
    settings = RetrieverConfig(model=str(other), collections_path=config.collections_path)
    async with serving(settings, "retriever", RetrieverService) as channel:
        stub = retriever_pb2_grpc.RetrieverServiceStub(channel)
        call = stub.Retrieve(retriever_pb2.RetrieveRequest(question="x"))
        error = await refused(call, grpc.StatusCode.FAILED_PRECONDITION)
    found = detail(error, error_details_pb2.ErrorInfo())
    assert found.reason == "ENCODER_MISMATCH"
    assert set(found.metadata) == {"modules"}
    assert "mean" in found.metadata["modules"]
    assert "cls" in found.metadata["modules"]


async def test_dpr_towers_serve_a_collection(config: EncoderConfig, tmp_path: Path) -> None:
    question, passage = write_dpr_pair(tmp_path)
    towers = replace(config, encoder="dpr", model=str(question), passage_model=str(passage))
    async with installed(towers) as installation:
        await create(installation, "default")
        await installation.upsert([document("a", "The pointer."), document("b", "The log.")])
        await installation.publish()
        found = await installation.retrieve("x", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=1)
    assert len(found.candidates) == 2
    assert found.stats.model == str(question)


async def test_dpr_without_its_second_tower_refuses_to_start(config: EncoderConfig) -> None:
    settings = RetrieverConfig(model=config.model, encoder="dpr", collections_path=config.collections_path)
    with pytest.raises(ConfigError, match="passage_model"):
        async with serving(settings, "retriever", RetrieverService):
            pass


# Writing


async def test_creating_a_collection_twice_changes_nothing(empty: Installation) -> None:
    first = await create(empty, "docs")
    assert (first.analyzer.language, first.analyzer.stemming, first.analyzer.stop_words) == ("en", True, True)
    assert await create(empty, "docs", language="en", stemming=True) == first


async def test_creating_a_collection_with_other_settings_is_refused(empty: Installation) -> None:
    await create(empty, "docs")
    await refused(create(empty, "docs", language="de"), grpc.StatusCode.ALREADY_EXISTS)


@pytest.mark.parametrize("name", ["", "../docs", "Docs", "docs/x", "a" * 65])
async def test_a_name_that_is_no_name_is_refused(empty: Installation, name: str) -> None:
    await refused(create(empty, name), grpc.StatusCode.INVALID_ARGUMENT)


async def test_an_unknown_language_is_refused(empty: Installation) -> None:
    error = await refused(create(empty, "docs", language="xx"), grpc.StatusCode.INVALID_ARGUMENT)
    found = detail(error, error_details_pb2.BadRequest())
    assert [violation.field for violation in found.field_violations] == ["analyzer.language"]


async def test_the_same_document_twice_changes_nothing_and_other_content_replaces_it(empty: Installation) -> None:
    await create(empty, "default")
    for text, outcome in [
        ("One.", indexer_pb2.UPSERT_OUTCOME_CREATED),
        ("One.", indexer_pb2.UPSERT_OUTCOME_UNCHANGED),
        ("Two.", indexer_pb2.UPSERT_OUTCOME_UPDATED),
    ]:
        responses = await empty.upsert([document("a", text)])
        assert (responses["a"].outcome, responses["a"].num_passages) == (outcome, 1)
    await empty.publish()
    found = await empty.retrieve("x", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=1)
    assert [one.passage.text for one in found.candidates] == ["Two."]


async def test_of_one_document_sent_twice_in_a_stream_the_later_stays(empty: Installation) -> None:
    await create(empty, "default")
    await empty.upsert([document("a", "One, and it is the longer one. " * 40), document("a", "Two.")])
    await empty.publish()
    found = await empty.retrieve("x", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=1)
    assert [one.passage.text for one in found.candidates] == ["Two."]


async def test_a_rejected_document_ends_nothing(empty: Installation) -> None:
    await create(empty, "default")
    responses = await empty.upsert([document("a", "One."), document("bad", ""), document("c", "Three.")])
    outcomes = {name: one.outcome for name, one in responses.items()}
    assert outcomes == {
        "a": indexer_pb2.UPSERT_OUTCOME_CREATED,
        "bad": indexer_pb2.UPSERT_OUTCOME_REJECTED,
        "c": indexer_pb2.UPSERT_OUTCOME_CREATED,
    }
    assert responses["bad"].rejection.field == "document.sections[0].text"


async def test_sections_without_ranges_follow_each_other(empty: Installation) -> None:
    await create(empty, "default")
    sections = [
        indexer_pb2.Section(text="中文🙂"),
        indexer_pb2.Section(text="b", page=2, uri="file:///b", heading_path=["h"]),
        indexer_pb2.Section(text="c", range={"start": 10, "end": 11}),
        indexer_pb2.Section(text="d"),
    ]
    await empty.upsert([indexer_pb2.Document(document_id="a", uri="file:///a", sections=sections)])
    await empty.publish()
    found = await empty.retrieve("x", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, min_index_version=1)
    passage_by_text = {one.passage.text: one.passage for one in found.candidates}
    starts = {text: passage.range.start for text, passage in passage_by_text.items()}
    assert starts == {"中文🙂": 0, "b": 3, "c": 10, "d": 11}
    second = passage_by_text["b"]
    assert (second.page, second.uri, list(second.heading_path)) == (2, "file:///b", ["h"])
    assert (passage_by_text["d"].HasField("page"), passage_by_text["d"].uri) == (False, "file:///a")


async def test_a_request_without_a_document_is_rejected(empty: Installation) -> None:
    await create(empty, "default")
    [response] = [one async for one in empty.indexer.UpsertDocuments(iter([indexer_pb2.UpsertDocumentsRequest()]))]
    assert (response.outcome, response.rejection.field) == (
        indexer_pb2.UPSERT_OUTCOME_REJECTED,
        "document.document_id",
    )


async def test_a_stream_that_is_cancelled_leaves_what_it_acknowledged(empty: Installation) -> None:
    await create(empty, "default")
    never = asyncio.Event()

    async def requests() -> AsyncIterator[indexer_pb2.UpsertDocumentsRequest]:
        yield indexer_pb2.UpsertDocumentsRequest(document=document("a", "One."))
        await never.wait()

    stream = empty.indexer.UpsertDocuments(requests())
    acknowledged = await stream.read()
    assert isinstance(acknowledged, indexer_pb2.UpsertDocumentsResponse)
    assert acknowledged.document_id == "a"
    stream.cancel()
    assert await empty.publish() == 1


async def test_a_stream_that_changes_its_collection_is_refused(empty: Installation) -> None:
    await create(empty, "default")
    requests = [
        indexer_pb2.UpsertDocumentsRequest(collection=name, document=document(name, "x")) for name in ("default", "b")
    ]

    async def drain() -> None:
        async for _ in empty.indexer.UpsertDocuments(iter(requests)):
            pass

    await refused(drain(), grpc.StatusCode.INVALID_ARGUMENT)


async def test_writing_to_an_unknown_collection_is_refused(empty: Installation) -> None:
    await refused(empty.upsert([document("a", "x")], "absent"), grpc.StatusCode.NOT_FOUND)
    await refused(empty.publish("absent"), grpc.StatusCode.NOT_FOUND)
    await refused(
        empty.indexer.GetCollection(indexer_pb2.GetCollectionRequest(name="absent")), grpc.StatusCode.NOT_FOUND
    )


async def listed(installation: Installation, collection: str = "") -> list[tuple[str, str]]:
    request = indexer_pb2.ListDocumentsRequest(collection=collection)
    return [(one.document_id, one.content_hash) async for one in installation.indexer.ListDocuments(request)]


def sha256(stored: indexer_pb2.Document) -> str:
    return hashlib.sha256(stored.SerializeToString(deterministic=True)).hexdigest()


async def test_documents_are_listed_by_id_with_the_hash_of_what_was_sent(empty: Installation) -> None:
    await create(empty, "default")
    assert await listed(empty) == []
    documents = [document("b", "Two.", title="T"), document("a", "One.", "Three."), document("中", "文")]
    documents[0].sections[0].page = 7
    await empty.upsert(documents)
    assert await listed(empty, "default") == [
        (one.document_id, sha256(one)) for one in (documents[i] for i in (1, 0, 2))
    ]
    changed = document("a", "One is changed.")
    await empty.upsert([changed, document("rejected")])
    assert (await listed(empty))[0] == ("a", sha256(changed))
    assert len(await listed(empty)) == 3


async def test_documents_to_be_made_anew_are_listed_without_a_hash(config: EncoderConfig) -> None:
    async with installed(config) as before:
        await create(before, "default")
        await before.upsert([document("a", "One.")])
    other = IndexerConfig(**asdict(config), max_passage_tokens=16)
    async with serving(other, "indexer", IndexerService) as channel:
        stub = indexer_pb2_grpc.IndexerServiceStub(channel)
        [response] = [one async for one in stub.ListDocuments(indexer_pb2.ListDocumentsRequest())]
    assert (response.document_id, response.content_hash) == ("a", "")


async def test_documents_of_an_unknown_collection_are_not_found(empty: Installation) -> None:
    await refused(listed(empty, "absent"), grpc.StatusCode.NOT_FOUND)
    await refused(listed(empty, "No name"), grpc.StatusCode.INVALID_ARGUMENT)


async def test_publishing_nothing_is_refused_and_publishing_twice_returns_the_same(empty: Installation) -> None:
    await create(empty, "default")
    error = await refused(empty.publish(), grpc.StatusCode.FAILED_PRECONDITION)
    assert detail(error, error_details_pb2.ErrorInfo()).reason == "NOTHING_STORED"
    await empty.upsert([document("a", "One.")])
    assert [await empty.publish(), await empty.publish()] == [1, 1]


async def test_publishing_to_a_full_disk_is_refused_without_a_retry(empty: Installation) -> None:
    await create(empty, "default")
    await empty.upsert([document("a", "One."), document("b", "Two.")])
    with file_size_limit(1_000):
        error = await refused(empty.publish(), grpc.StatusCode.RESOURCE_EXHAUSTED)
    metadata = dict(error.trailing_metadata() or ())
    assert not status_pb2.Status.FromString(metadata["grpc-status-details-bin"]).details
    assert await empty.publish() == 1


async def test_a_leg_that_was_left_out_is_an_event_as_the_gateway_writes_it() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("retrieve"):
        found = degraded(Findings([], dense_error=Overloaded("full", 1.0)))
    assert found == [retriever_pb2.DEGRADATION_DENSE_SKIPPED]
    [event] = exporter.get_finished_spans()[0].events
    assert event.name == attributes.DEGRADED
    assert dict(event.attributes or {}) == {
        attributes.STEP: "DEGRADATION_DENSE_SKIPPED",
        "rpc.response.status_code": "RESOURCE_EXHAUSTED",
    }


async def test_a_collection_counts_what_it_holds(filled: Installation) -> None:
    await filled.upsert([document("more", "One.", "Two.")])
    request = indexer_pb2.GetCollectionRequest()
    described = (await filled.indexer.GetCollection(request)).collection
    assert (described.name, described.published_version) == ("default", 1)
    assert (described.num_documents, described.num_passages, described.num_unpublished_documents) == (4, 5, 1)


async def test_collections_are_listed_by_name_page_by_page(empty: Installation) -> None:
    for name in ("c", "a", "b"):
        await create(empty, name)
    pages: list[list[str]] = []
    token = ""
    while not pages or token:
        request = indexer_pb2.ListCollectionsRequest(page_size=2, page_token=token)
        page = await empty.indexer.ListCollections(request)
        pages.append([collection.name for collection in page.collections])
        token = page.next_page_token
    assert pages == [["a", "b"], ["c"]]
    bad = indexer_pb2.ListCollectionsRequest(page_token="../")
    await refused(empty.indexer.ListCollections(bad), grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_restarted_indexer_has_what_was_acknowledged(config: EncoderConfig) -> None:
    async with installed(config) as installation:
        await create(installation, "default")
        await installation.upsert([document("a", "One.")])
    async with installed(config) as restarted:
        responses = await restarted.upsert([document("a", "One."), document("b", "Two.")])
        assert responses["a"].outcome == indexer_pb2.UPSERT_OUTCOME_UNCHANGED
        assert await restarted.publish() == 1


async def test_a_second_indexer_of_the_same_collections_refuses_to_start(
    config: EncoderConfig, empty: Installation
) -> None:
    settings = IndexerConfig(model=config.model, collections_path=config.collections_path)
    with pytest.raises(ConfigError, match="written by process"):
        async with serving(settings, "indexer", IndexerService):
            pass


async def create_with(installation: Installation, name: str, factory: str, metric: Any = 0) -> indexer_pb2.Collection:
    index = indexer_pb2.Index(factory=factory, metric=metric)
    request = indexer_pb2.CreateCollectionRequest(name=name, index=index)
    return (await installation.indexer.CreateCollection(request)).collection


async def test_a_collection_says_which_index_it_has(empty: Installation) -> None:
    made = await create_with(empty, "graph", "HNSW16,Flat", indexer_pb2.DISTANCE_METRIC_COSINE)
    assert made.index == indexer_pb2.Index(factory="HNSW16", metric=indexer_pb2.DISTANCE_METRIC_COSINE)
    assert await create(empty, "graph") == made, "who names no index takes the one that is there"
    assert await create_with(empty, "graph", "HNSW16", indexer_pb2.DISTANCE_METRIC_COSINE) == made
    await refused(create_with(empty, "graph", "HNSW16"), grpc.StatusCode.ALREADY_EXISTS)
    flat = indexer_pb2.Index(factory="Flat", metric=indexer_pb2.DISTANCE_METRIC_INNER_PRODUCT)
    assert (await create(empty, "default")).index == flat


@pytest.mark.parametrize(
    ("factory", "metric", "field"),
    [("PCA8,Flat", 0, "index.factory"), ("IVF8,PQ7", 0, "index.factory"), ("Flat", 9, "index.metric")],
    ids=["unknown-kind", "codes-that-do-not-divide", "unknown-metric"],
)
async def test_an_index_that_cannot_be_is_refused_by_field(
    empty: Installation, factory: str, metric: int, field: str
) -> None:
    error = await refused(create_with(empty, "bad", factory, metric), grpc.StatusCode.INVALID_ARGUMENT)
    [violation] = detail(error, error_details_pb2.BadRequest()).field_violations
    assert violation.field == field
    assert (await empty.indexer.ListCollections(indexer_pb2.ListCollectionsRequest())).collections == []


async def test_too_few_passages_for_the_index_are_told_with_both_numbers(empty: Installation) -> None:
    await create_with(empty, "default", "IVF2,Flat")
    await empty.upsert([document("a", "One."), document("b", "Two.")])
    error = await refused(empty.publish(), grpc.StatusCode.FAILED_PRECONDITION)
    info = detail(error, error_details_pb2.ErrorInfo())
    assert info.reason == "TOO_FEW_PASSAGES"
    assert dict(info.metadata) == {"needed": "78", "found": "2", "factory": "IVF2,Flat"}
    assert [document_id for document_id, _ in await listed(empty, "default")] == ["a", "b"]


@pytest.mark.parametrize("field", ["nprobe", "ef_search"])
async def test_a_request_says_how_far_an_index_is_searched_within_bounds(filled: Installation, field: str) -> None:
    first = await filled.retrieve("pointer", mode=retriever_pb2.RETRIEVAL_MODE_DENSE)
    for value in (1, 4_096):
        found = await filled.retrieve("pointer", mode=retriever_pb2.RETRIEVAL_MODE_DENSE, **{field: value})
        assert found.candidates == first.candidates, "Flat has no such knob"
    for value in (0, 4_097):
        error = await refused(filled.retrieve("pointer", **{field: value}), grpc.StatusCode.INVALID_ARGUMENT)
        assert detail(error, error_details_pb2.BadRequest()).field_violations[0].field == field


async def test_one_list_is_searched_where_one_is_asked_for(empty: Installation) -> None:
    await create_with(empty, "default", "IVF2,Flat", indexer_pb2.DISTANCE_METRIC_COSINE)
    await empty.upsert(document(f"d{number}", f"Words {number} about the number {number}.") for number in range(90))
    await empty.publish()
    dense = retriever_pb2.RETRIEVAL_MODE_DENSE
    one, all_lists = [
        await empty.retrieve("number 7", mode=dense, top_k=20, nprobe=nprobe, min_index_version=1) for nprobe in (1, 2)
    ]
    assert len(one.candidates) == len(all_lists.candidates) == 20
    assert all(0 <= candidate.scores.dense_score <= 1.0001 for candidate in all_lists.candidates)
    assert one.candidates[0].scores.dense_score <= all_lists.candidates[0].scores.dense_score


async def test_advice_is_given_for_what_is_stored(filled: Installation) -> None:
    advice = await filled.indexer.AdviseIndex(indexer_pb2.AdviseIndexRequest())
    assert (advice.num_passages, advice.index.factory, advice.recommended) == (3, "Flat", "Flat")
    assert advice.num_bytes == 3 * 4 * advice.dimension
    assert advice.candidates[0].factory == "Flat"
    assert not advice.candidates[0].HasField("recall")
    absent = indexer_pb2.AdviseIndexRequest(collection="absent")
    await refused(filled.indexer.AdviseIndex(absent), grpc.StatusCode.NOT_FOUND)
