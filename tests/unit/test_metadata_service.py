"""Documents with metadata over real servers: declared, stored, filtered in both legs, deleted by filter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2

from services.retriever.config import EncoderConfig
from tests.unit.seeded_encoders import write_sentence_encoder
from tests.unit.test_retriever_service import Installation, detail, installed, refused
from trivium.v1 import indexer_pb2, metadata_pb2, passage_pb2, retriever_pb2

FIELDS = {
    "team": metadata_pb2.FIELD_TYPE_STRING,
    "tags": metadata_pb2.FIELD_TYPE_STRINGS,
    "year": metadata_pb2.FIELD_TYPE_INTEGER,
    "price": metadata_pb2.FIELD_TYPE_NUMBER,
    "draft": metadata_pb2.FIELD_TYPE_BOOLEAN,
    "at": metadata_pb2.FIELD_TYPE_TIME,
}
MODES = [
    retriever_pb2.RETRIEVAL_MODE_HYBRID,
    retriever_pb2.RETRIEVAL_MODE_DENSE,
    retriever_pb2.RETRIEVAL_MODE_SPARSE,
]
EVEN_YEARS = {"one_of": {"field": "year", "values": [{"integer_value": str(year)} for year in range(2000, 2030, 2)]}}
OPS = {"equals": {"field": "team", "value": {"string_value": "ops"}}}


def value(of: Any) -> metadata_pb2.MetadataValue:
    message = metadata_pb2.MetadataValue()
    match of:
        case bool():
            message.boolean_value = of
        case int():
            message.integer_value = of
        case float():
            message.number_value = of
        case str():
            message.string_value = of
        case list():
            message.strings_value.values[:] = of
        case _:
            message.time_value.FromDatetime(of)
    return message


def document(document_id: str, text: str = "A reader follows the pointer.", **metadata: Any) -> indexer_pb2.Document:
    return indexer_pb2.Document(
        document_id=document_id,
        sections=[indexer_pb2.Section(text=text)],
        metadata={name: value(of) for name, of in metadata.items()},
    )


def filter_of(fields: dict[str, Any]) -> metadata_pb2.Filter:
    return json_format.ParseDict(fields, metadata_pb2.Filter())


def definitions(fields: dict[str, Any]) -> list[metadata_pb2.FieldDefinition]:
    return [metadata_pb2.FieldDefinition(name=name, type=kind) for name, kind in fields.items()]


async def create(installation: Installation, fields: dict[str, Any], name: str = "default") -> indexer_pb2.Collection:
    request = indexer_pb2.CreateCollectionRequest(name=name, fields=definitions(fields))
    return (await installation.indexer.CreateCollection(request)).collection


def ids(found: retriever_pb2.RetrieveResponse) -> list[str]:
    return [one.passage.document_id for one in found.candidates]


def violated(error: grpc.aio.AioRpcError) -> list[str]:
    return [violation.field for violation in detail(error, error_details_pb2.BadRequest()).field_violations]


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Installation]:
    """Both processes, and the collection `default` with fields."""
    model = write_sentence_encoder(tmp_path / "model")
    async with installed(EncoderConfig(model=str(model), collections_path=tmp_path / "collections")) as installation:
        await create(installation, FIELDS)
        yield installation


@pytest.fixture
async def filled(empty: Installation) -> Installation:
    """Thirty documents of the years 2000 to 2029, every third of team `ops`, every fifth of no year."""
    documents = [
        document(
            f"{number:02}",
            "pointer " + " ".join(("pointer", "disk")[number >> bit & 1] for bit in range(5)),
            team="ops" if number % 3 == 0 else "Ops",
            **({} if number % 5 == 0 else {"year": 2000 + number}),
        )
        for number in range(30)
    ]
    await empty.upsert(documents)
    await empty.publish()
    return empty


async def test_fields_are_fixed_when_a_collection_is_created(empty: Installation) -> None:
    again = await create(empty, dict(reversed(FIELDS.items())))
    assert {one.name: one.type for one in again.fields} == FIELDS
    assert [one.name for one in again.fields] == sorted(FIELDS)
    await refused(create(empty, {**FIELDS, "more": 1}), grpc.StatusCode.ALREADY_EXISTS)
    await refused(create(empty, {}), grpc.StatusCode.ALREADY_EXISTS)


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"a b": 1}, "fields[0].name"), ({"a": 0}, "fields[0].type"), ({"a": 1, "b": 99}, "fields[1].type")],
    ids=str,
)
async def test_fields_that_cannot_be_declared_are_refused(
    empty: Installation, fields: dict[str, Any], field: str
) -> None:
    assert violated(await refused(create(empty, fields, "other"), grpc.StatusCode.INVALID_ARGUMENT)) == [field]


async def test_metadata_comes_back_as_it_was_sent(empty: Installation) -> None:
    at = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
    sent = document("a", team="", tags=["b", "a"], year=-(2**63), price=0.1, draft=False, at=at)
    await empty.upsert([sent])
    version = await empty.publish()
    [found] = (await empty.retrieve("pointer", min_index_version=version)).candidates
    assert dict(found.passage.metadata) == dict(sent.metadata)


async def test_other_metadata_is_another_document(empty: Installation) -> None:
    outcomes = []
    for year in (1, 1, 2):
        replies = await empty.upsert([document("a", year=year)])
        outcomes.append(indexer_pb2.UpsertOutcome.Name(replies["a"].outcome).removeprefix("UPSERT_OUTCOME_"))
    assert outcomes == ["CREATED", "UNCHANGED", "UPDATED"]
    found = await empty.retrieve("pointer", min_index_version=await empty.publish())
    assert found.candidates[0].passage.metadata["year"].integer_value == 2


async def test_a_document_whose_metadata_cannot_be_is_rejected_alone(empty: Installation) -> None:
    no_time = document("time")
    no_time.metadata["at"].time_value.seconds = 10**12
    no_value = document("value")
    no_value.metadata["year"].SetInParent()
    replies = await empty.upsert(
        [document("name", colour="red"), document("type", year="2024"), no_time, no_value, document("good", year=1)]
    )
    fields = {name: reply.rejection.field for name, reply in replies.items()}
    assert fields == {
        "name": 'document.metadata["colour"]',
        "type": 'document.metadata["year"]',
        "time": 'document.metadata["at"]',
        "value": 'document.metadata["year"]',
        "good": "",
    }


@pytest.mark.parametrize("mode", MODES, ids=retriever_pb2.RetrievalMode.Name)
@pytest.mark.parametrize(
    "wanted", [EVEN_YEARS, OPS, {"none_of": {"filters": [EVEN_YEARS]}}], ids=["even", "ops", "not"]
)
async def test_a_filtered_search_finds_the_best_of_those_that_are_kept_with_their_own_scores(
    filled: Installation, mode: Any, wanted: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"question": "Who follows the pointer?", "mode": mode, "min_index_version": 1}
    everything = await filled.retrieve(**asked, top_k=30)
    expected = [one for one in everything.candidates if is_chosen(wanted, int(one.passage.document_id))]
    found = await filled.retrieve(**asked, top_k=30, filter=filter_of(wanted))
    assert (found.is_filtered, everything.is_filtered) == (True, False)
    assert len(found.candidates) == len(expected) > 7
    for leg in ("dense", "bm25"):
        assert scores(found.candidates, leg) == scores(expected, leg)
    if mode != retriever_pb2.RETRIEVAL_MODE_HYBRID:
        best = await filled.retrieve(**asked, top_k=7, filter=filter_of(wanted))
        assert ids(best) == [one.passage.document_id for one in expected][:7]


def is_chosen(wanted: dict[str, Any], number: int) -> bool:
    """Of the documents of `filled`."""
    if wanted is OPS:
        return number % 3 == 0
    is_even_year = number % 2 == 0 and number % 5 != 0
    return is_even_year if wanted is EVEN_YEARS else not is_even_year


def scores(candidates: Any, leg: str) -> list[tuple[float, str]]:
    """Of those candidates that the leg saw, best first."""
    seen: list[passage_pb2.Candidate] = [one for one in candidates if one.scores.HasField(f"{leg}_score")]
    seen.sort(key=lambda one: getattr(one.scores, f"{leg}_rank"))
    return [(getattr(one.scores, f"{leg}_score"), one.passage.document_id) for one in seen]


async def test_a_filter_that_chooses_nothing_finds_nothing(filled: Installation) -> None:
    nobody = filter_of({"equals": {"field": "team", "value": {"string_value": "nobody"}}})
    for mode in MODES:
        found = await filled.retrieve("pointer", mode=mode, filter=nobody, min_index_version=1)
        assert (ids(found), found.is_filtered) == ([], True)


async def test_a_passage_that_the_filter_excludes_says_so(filled: Installation) -> None:
    asked: dict[str, Any] = {"question": "pointer", "min_index_version": 1, "explain": True, "filter": filter_of(OPS)}
    explained = await filled.retrieve(**asked, top_k=2, passage_id="01#0")
    standing = explained.explanation.standing
    assert standing.is_filtered_out
    assert not standing.HasField("needed_top_k")
    assert not standing.scores.ListFields()
    assert standing.passage.metadata["team"].string_value == "Ops"
    everything = [*explained.candidates, *explained.explanation.left_out]
    assert {int(one.passage.document_id) % 3 for one in everything} == {0}
    chosen = (await filled.retrieve(**asked, passage_id="03#0")).explanation.standing
    assert not chosen.is_filtered_out
    assert chosen.needed_top_k >= 1


def nested(depth: int) -> dict[str, Any]:
    return OPS if depth == 1 else {"all_of": {"filters": [nested(depth - 1)]}}


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({}, "filter"),
    ({"equals": {"field": "colour", "value": {"string_value": "x"}}}, "filter.equals.field"),
    ({"equals": {"field": "year", "value": {"string_value": "2024"}}}, "filter.equals.value"),
    ({"equals": {"field": "year"}}, "filter.equals.value"),
    ({"equals": {"field": "tags", "value": {"strings_value": {"values": ["a"]}}}}, "filter.equals.value"),
    ({"one_of": {"field": "year", "values": []}}, "filter.one_of.values"),
    ({"one_of": {"field": "year", "values": [{"integer_value": "1"}] * 1_001}}, "filter.one_of.values"),
    ({"range": {"field": "price", "at_least": {"number_value": "NaN"}}}, "filter.range.at_least"),
    (
        {"range": {"field": "year", "at_least": {"integer_value": "2"}, "above": {"integer_value": "2"}}},
        "filter.range.above",
    ),
    ({"range": {"field": "year", "at_least": {"integer_value": "2"}, "below": {"integer_value": "1"}}}, "filter.range"),
    ({"any_of": {"filters": []}}, "filter.any_of.filters"),
    ({"all_of": {"filters": [OPS, {}]}}, "filter.all_of.filters[1]"),
    (nested(9), f"filter{'.all_of.filters[0]' * 8}"),
    ({"any_of": {"filters": [OPS] * 100}}, "filter.any_of.filters[99]"),
]


@pytest.mark.parametrize(("wanted", "field"), MALFORMED, ids=[field for _, field in MALFORMED])
async def test_a_malformed_filter_is_refused_by_field(filled: Installation, wanted: dict[str, Any], field: str) -> None:
    searched = filled.retrieve("pointer", filter=filter_of(wanted), min_index_version=1)
    assert violated(await refused(searched, grpc.StatusCode.INVALID_ARGUMENT)) == [field]
    request = indexer_pb2.DeleteDocumentsRequest(filter=filter_of(wanted))
    deleted = filled.indexer.DeleteDocuments(request)
    assert violated(await refused(deleted, grpc.StatusCode.INVALID_ARGUMENT)) == [field]


async def test_the_largest_filter_is_taken(filled: Installation) -> None:
    years = {"one_of": {"field": "year", "values": [{"integer_value": str(year)} for year in range(1_000)]}}
    wanted = {"any_of": {"filters": [years, *[OPS] * 97, nested(1)]}}
    found = await filled.retrieve("pointer", filter=filter_of(wanted), min_index_version=1)
    assert len(ids(found)) == 10
    assert len(ids(await filled.retrieve("pointer", filter=filter_of(nested(8)), min_index_version=1))) == 10


async def test_a_collection_without_fields_refuses_every_filter(empty: Installation) -> None:
    await create(empty, {}, "plain")
    await empty.upsert([document("a")], "plain")
    await empty.publish("plain")
    searched = empty.retrieve("pointer", collection="plain", filter=filter_of(OPS), min_index_version=1)
    assert violated(await refused(searched, grpc.StatusCode.INVALID_ARGUMENT)) == ["filter.equals.field"]


async def test_documents_are_deleted_by_filter(filled: Installation) -> None:
    request = indexer_pb2.DeleteDocumentsRequest(filter=filter_of(OPS), purge=True)
    deleted = await filled.indexer.DeleteDocuments(request)
    expected = [f"{number:02}" for number in range(0, 30, 3)]
    assert list(deleted.deleted_document_ids) == expected
    assert (deleted.num_deleted_documents, deleted.absent_from_version, list(deleted.held_by_versions)) == (10, 2, [])
    found = await filled.retrieve("pointer", top_k=30, min_index_version=2)
    assert sorted(ids(found)) == [f"{number:02}" for number in range(30) if number % 3]
    assert ids(await filled.retrieve("pointer", filter=filter_of(OPS))) == []
    again = await filled.indexer.DeleteDocuments(request)
    assert (again.num_deleted_documents, again.absent_from_version) == (0, 2)


async def test_a_deletion_names_documents_or_a_filter(filled: Installation) -> None:
    both = indexer_pb2.DeleteDocumentsRequest(document_ids=["01"], filter=filter_of(OPS))
    for request, field in ((both, "document_ids"), (indexer_pb2.DeleteDocumentsRequest(), "document_ids")):
        call = filled.indexer.DeleteDocuments(request)
        assert violated(await refused(call, grpc.StatusCode.INVALID_ARGUMENT)) == [field]


async def until_found(installation: Installation, expected: set[str], wanted: dict[str, Any]) -> None:
    """Returns once both legs find these documents and no others. Raises TimeoutError."""
    async with asyncio.timeout(10):
        for mode in MODES:
            while True:
                found = await installation.retrieve("pointer", mode=mode, filter=filter_of(wanted))
                if set(ids(found)) == expected:
                    break
                await asyncio.sleep(0.02)


async def test_what_is_not_published_yet_is_filtered_with_the_rest(empty: Installation) -> None:
    await empty.upsert([document("a", team="ops"), document("b", team="Ops"), document("c", team="ops")])
    await empty.publish()
    await until_found(empty, {"a", "c"}, OPS)
    await empty.upsert([document("d", team="ops"), document("e", team="Ops"), document("f")])
    await until_found(empty, {"a", "c", "d"}, OPS)
    await until_found(empty, {"b", "e", "f"}, {"none_of": {"filters": [OPS]}})
    await empty.upsert([document("a", team="Ops"), document("b", team="ops")])
    await until_found(empty, {"b", "c", "d"}, OPS)
    deleted = await empty.indexer.DeleteDocuments(indexer_pb2.DeleteDocumentsRequest(filter=filter_of(OPS)))
    assert list(deleted.deleted_document_ids) == ["b", "c", "d"]
    await until_found(empty, set(), OPS)
    await until_found(empty, {"a", "e", "f"}, {"none_of": {"filters": [OPS]}})
    await empty.publish()
    await until_found(empty, {"a", "e", "f"}, {"none_of": {"filters": [OPS]}})
