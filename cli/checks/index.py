"""The collection: what the indexer published is what every retriever serves, made by the encoder that it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2

from cli.checks.check import Finding, Status, Trouble
from cli.checks.network import Network, on_each
from cli.checks.places import Endpoint, Place
from cli.connection import Refusal, details_of
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, indexer_pb2, indexer_pb2_grpc, retriever_pb2, retriever_pb2_grpc

FOLLOW_S = 3.0
"""Seconds that a retriever may take to follow a publication."""

ADVICE_BY_REASON = {
    "ENCODER_MISMATCH": "Either give the retriever the model, encoder and prompts that made the index, or ingest the "
    "documents again with an indexer that runs the retriever's: RETRIEVER_MODEL and INDEXER_MODEL must name the same.",
    "INDEX_NOT_PUBLISHED": "`trivium ingest PATH` stores documents and publishes them.",
    "INDEX_CORRUPT": "The retriever's log names the file. `trivium ingest` of any document writes a new version; "
    "then look at the disk.",
    "INDEX_NOT_LOADED": "The retriever's log says why: memory, or a volume that is not mounted.",
}


def examine_indexed(indexer: Place, collection: str, network: Network) -> Iterator[Finding]:
    """What the indexer holds and has published."""
    held = _collection(indexer, collection, network)
    if not held.published_version:
        raise Trouble(
            f"{held.name}: {held.num_documents:,} documents stored, nothing published",
            "`trivium ingest PATH` publishes what it stores; without documents there is nothing to answer from.",
        )
    if held.num_unpublished_documents:
        text = f"{held.name}: {held.num_unpublished_documents:,} stored documents are not in the published version"
        yield Finding(Status.WARNING, text, "`trivium ingest` of any document, or PublishVersion, publishes them.")
    counts = f"{held.num_documents:,} documents, {held.num_passages:,} passages"
    yield Finding(Status.OK, f"{held.name}: version {held.published_version} published, {counts}")


def examine_served(
    retriever: Place | None, gateway: Place | None, indexer: Place | None, collection: str, network: Network
) -> Iterator[Finding]:
    """What each retriever serves, or the one that the gateway asks, against what is published."""
    ask = _retrieve if retriever else _search
    asked = retriever or gateway
    assert asked is not None
    endpoints = network.endpoints(asked) if retriever else network.endpoints(asked)[:1]
    versions = on_each(lambda endpoint: ask(endpoint, collection, network), endpoints)
    give_up_at = time.monotonic() + FOLLOW_S
    while indexer and set(versions) != {published := _collection(indexer, collection, network).published_version}:
        if time.monotonic() > give_up_at:
            behind = ", ".join(
                f"{endpoint.address} serves {version}"
                for endpoint, version in zip(endpoints, versions, strict=True)
                if version != published
            )
            raise Trouble(
                f"version {published} is published, but {behind}",
                "The retriever's log says why it does not follow. Do retriever and indexer see the same collections "
                "(RETRIEVER_COLLECTIONS_PATH, INDEXER_COLLECTIONS_PATH, one volume)?",
            )
        time.sleep(0.2)
        versions = on_each(lambda endpoint: ask(endpoint, collection, network), endpoints)
    whom = f"{len(endpoints)} retriever{'s' if len(endpoints) > 1 else ''}" if retriever else "the gateway's retriever"
    compared = "as published" if indexer else "not compared: no indexer's address is given"
    yield Finding(Status.OK, f"{whom}: version {', '.join(map(str, sorted(set(versions))))}, {compared}")


def _collection(indexer: Place, name: str, network: Network) -> indexer_pb2.Collection:
    with network.channel(network.endpoints(indexer)[0]) as channel:
        try:
            request = indexer_pb2.GetCollectionRequest(name=name)
            stub = indexer_pb2_grpc.IndexerServiceStub(channel)
            return stub.GetCollection(request, timeout=network.timeout_s).collection
        except grpc.RpcError as error:
            raise refused("the indexer", error) from None


def _retrieve(endpoint: Endpoint, collection: str, network: Network) -> int:
    request = retriever_pb2.RetrieveRequest(
        question="trivium doctor", collection=collection, mode=retriever_pb2.RETRIEVAL_MODE_SPARSE, top_k=1
    )
    with network.channel(endpoint) as channel:
        try:
            stub = retriever_pb2_grpc.RetrieverServiceStub(channel)
            return stub.Retrieve(request, timeout=network.timeout_s).index_version
        except grpc.RpcError as error:
            raise refused(f"the retriever at {endpoint.address}", error) from None


def _search(endpoint: Endpoint, collection: str, network: Network) -> int:
    options = gateway_pb2.SearchOptions(collection=collection, top_k=1, num_candidates=1)
    request = gateway_pb2.SearchRequest(question="trivium doctor", search=options)
    with network.channel(endpoint) as channel:
        try:
            stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
            return int(stub.Search(request, timeout=network.timeout_s).report.index_version)
        except grpc.RpcError as error:
            raise refused("the gateway", error) from None


def refused(who: str, error: grpc.RpcError) -> Trouble:
    """A failed call as trouble: with what an index lacks, where the details say so."""
    refusal = Refusal.of(error)
    info = next((one for one in details_of(error) if isinstance(one, error_details_pb2.ErrorInfo)), None)
    if info and info.reason in ADVICE_BY_REASON:
        differences = "".join(f"; {what}: {how}" for what, how in sorted(info.metadata.items()))
        return Trouble(f"{who}: {refusal.message}{differences}", ADVICE_BY_REASON[info.reason])
    if refusal.code == "NOT_FOUND":
        return Trouble(f"{who}: {refusal.message}", "`trivium ingest PATH` makes it, or mend --collection.")
    stage = info.metadata.get("stage", "") if info else ""
    advice = (
        f"Look at the {stage}: is it up, and what does its log say?" if stage else "Look the trace id up in the log."
    )
    return Trouble(f"{who}: {refusal.line}", advice)
