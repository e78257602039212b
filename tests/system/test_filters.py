"""Metadata from a table's columns to an answer's sources: ingested, filtered, explained, deleted by filter."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from cli.connection import Refusal
from tests.installation import Installation, run_cli
from trivium.v1 import gateway_pb2, metadata_pb2

OPS = '{"equals": {"field": "team", "value": {"string_value": "ops"}}}'
SINCE_2024: dict[str, Any] = {"range": {"field": "year", "at_least": {"integer_value": 2024}}}


@pytest.fixture(scope="module")
def birds(trivium: Installation, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A collection of notes with a team and a year each. Returns its version."""
    path = tmp_path_factory.mktemp("birds") / "birds.csv"
    rows = [
        f"{number},{'ops' if number % 2 else 'science'},{2020 + number},The heron of pond {number} eats frogs."
        for number in range(8)
    ]
    path.write_text("\n".join(["id,team,year,text", *rows]))
    told = json.loads(
        run_cli(
            *("ingest", str(path), "--collection", "birds", "--indexer", trivium.address("indexer"), "--json"),
            *("--id-field", "id", "--metadata", "team:string", "--metadata", "year:integer"),
        )
    )
    assert told["created"] == 8
    return int(told["index_version"])


def options(version: int, wanted: str | dict[str, Any]) -> gateway_pb2.SearchOptions:
    found = json_format.Parse(wanted if isinstance(wanted, str) else json.dumps(wanted), metadata_pb2.Filter())
    return gateway_pb2.SearchOptions(collection="birds", min_index_version=version, filter=found, top_k=8)


def test_an_answer_rests_on_the_documents_that_the_filter_chooses(trivium: Installation, birds: int) -> None:
    request = gateway_pb2.AnswerRequest(question="What does the heron eat?", search=options(birds, SINCE_2024))
    answer = trivium.stub("gateway").Answer(request, timeout=60)
    assert sorted(source.passage.document_id for source in answer.sources) == ["4", "5", "6", "7"]
    assert {source.passage.metadata["year"].integer_value for source in answer.sources} == {2024, 2025, 2026, 2027}
    assert {source.scores.bm25_rank for source in answer.sources} == {1, 2, 3, 4}


def test_a_passage_that_the_filter_excludes_is_explained_by_that(trivium: Installation, birds: int) -> None:
    request = gateway_pb2.ExplainRequest(question="heron", search=options(birds, OPS), passage_id="2#0")
    explained = trivium.stub("gateway").Explain(request, timeout=60)
    assert explained.passage.candidate.outcome == gateway_pb2.CANDIDATE_OUTCOME_FILTERED_OUT
    assert explained.search.filter == request.search.filter
    assert {one.passage.document_id for one in explained.candidates} == {"1", "3", "5", "7"}


def test_a_filter_on_what_is_no_field_is_refused_in_the_gateways_names(trivium: Installation, birds: int) -> None:
    wanted: dict[str, Any] = {"any_of": {"filters": [json.loads(OPS), {"equals": {"field": "yaer"}}]}}
    wanted["any_of"]["filters"][1]["equals"]["value"] = {"integer_value": 1}
    request = gateway_pb2.SearchRequest(question="heron", search=options(birds, wanted))
    with pytest.raises(grpc.RpcError) as raised:
        trivium.stub("gateway").Search(request, timeout=60)
    refusal = Refusal.of(raised.value)
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.field_violations[0]["field"] == "search.filter.any_of.filters[1].equals.field"


def test_the_command_line_searches_explains_and_deletes_by_filter(trivium: Installation, birds: int) -> None:
    at_gateway = ("--gateway", trivium.address("gateway"), "--collection", "birds", "--filter", OPS)
    found = json.loads(run_cli("search", "heron", *at_gateway, "--top-k", "8", "--json"))
    assert sorted(source["passage"]["document_id"] for source in found["sources"]) == ["1", "3", "5", "7"]
    assert found["sources"][0]["passage"]["metadata"]["team"] == {"string_value": "ops"}
    assert "The filter does not choose it" in run_cli("explain", "heron", *at_gateway, "--passage-id", "2#0")
    assert "1" in run_cli("ask", "What does the heron eat?", *at_gateway)
    at_indexer = ("--indexer", trivium.address("indexer"))
    assert "team (string), year (integer)" in run_cli("collection", "show", "birds", *at_indexer)
    told = run_cli("collection", "delete-documents", "birds", "--filter", OPS, *at_indexer)
    assert told.startswith("4 deleted; from version 2 on")
    request = gateway_pb2.SearchRequest(question="heron", search=options(birds + 1, OPS))
    assert not trivium.stub("gateway").Search(request, timeout=60).sources
