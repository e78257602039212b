"""Messages of the indexer and what they stand for. Each conversion is here once."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from chassis.errors import InvalidRequest
from chassis.validation import require_between, require_enum
from services.retriever.analyzer import LANGUAGES, Analyzer
from services.retriever.filter import Filter, check
from services.retriever.index_kind import FLAT, IndexKind, InvalidIndexKind, Metric
from services.retriever.indexer.advice import Advice
from services.retriever.indexer.encoded import Brought, is_sampled
from services.retriever.indexer.intake import MAX_ID_CHARACTERS
from services.retriever.indexer.splitter import Document, Section
from services.retriever.indexer.store import Outcome
from services.retriever.indexer.writer import CollectionWriter, Verification
from services.retriever.manifest import Manifest
from services.retriever.metadata import Fields
from services.retriever.wire import field_at_fault, read_filter, read_metadata, write_fields
from trivium.v1 import indexer_pb2

MAX_DELETED_DOCUMENTS = 1_000
"""That one request, and one reply, names."""
MAX_NAMED_DOCUMENTS = 20
"""Of those that the log or a version holds: a reply is bounded."""
NUMBER_BY_OUTCOME = {
    Outcome.CREATED: indexer_pb2.UPSERT_OUTCOME_CREATED,
    Outcome.UPDATED: indexer_pb2.UPSERT_OUTCOME_UPDATED,
    Outcome.UNCHANGED: indexer_pb2.UPSERT_OUTCOME_UNCHANGED,
    Outcome.CHECKED: indexer_pb2.UPSERT_OUTCOME_CHECKED,
}

NUMBER_BY_METRIC = {
    Metric.INNER_PRODUCT: indexer_pb2.DISTANCE_METRIC_INNER_PRODUCT,
    Metric.COSINE: indexer_pb2.DISTANCE_METRIC_COSINE,
}
METRIC_BY_NUMBER = {
    indexer_pb2.DISTANCE_METRIC_UNSPECIFIED: Metric.INNER_PRODUCT,
    **{number: metric for metric, number in NUMBER_BY_METRIC.items()},
}


def read_analyzer(request: indexer_pb2.Analyzer) -> Analyzer:
    """Raises InvalidRequest."""
    language = request.language or "en"
    if language not in LANGUAGES:
        raise InvalidRequest("analyzer.language", f"one of {', '.join(sorted(LANGUAGES))}")
    return Analyzer.of(
        language,
        request.stemming if request.HasField("stemming") else None,
        request.stop_words if request.HasField("stop_words") else None,
    )


def read_kind(index: indexer_pb2.Index, dimension: int) -> IndexKind:
    """Raises InvalidRequest: no such kind, or none for vectors of this dimension."""
    require_enum("index.metric", index.metric, indexer_pb2.DistanceMetric)
    try:
        kind = IndexKind.parse(index.factory or FLAT.factory, METRIC_BY_NUMBER[index.metric])
        kind.require_suited(dimension)
    except InvalidIndexKind as error:
        raise InvalidRequest("index.factory", str(error)) from None
    return kind


def read_chosen(request: indexer_pb2.DeleteDocumentsRequest, fields: Fields) -> Filter | None:
    """The filter; None where documents are named instead. Raises InvalidRequest."""
    if request.HasField("filter"):
        if request.document_ids:
            raise InvalidRequest("document_ids", "not beside filter")
        with field_at_fault():
            wanted = read_filter(request.filter)
            check(wanted, fields)
        return wanted
    require_between("document_ids", len(request.document_ids), 1, MAX_DELETED_DOCUMENTS)
    for number, document_id in enumerate(request.document_ids):
        require_between(f"document_ids[{number}]", len(document_id), 1, MAX_ID_CHARACTERS)
    return None


def read_brought(request: indexer_pb2.UpsertDocumentsRequest, number: int) -> Brought:
    """What a document brings. `number` is the document's in its stream."""
    encoded = request.encoded
    return Brought(encoded.vectors, encoded.made_by, request.check_only, is_sampled(number))


def encoded_blocking(encoded: indexer_pb2.EncodedDocument) -> Document:
    """The document as it was sent, each section a passage. Hashes it."""
    document = document_blocking(encoded.document)
    digest = encoded.content_hash or hashlib.sha256(encoded.SerializeToString(deterministic=True)).hexdigest()
    return replace(document, content_hash=digest)


def document_blocking(document: indexer_pb2.Document) -> Document:
    """The document as it was sent, right or wrong. Hashes it."""
    sections: list[Section] = []
    end = 0
    for section in document.sections:
        start, end = end, end + len(section.text)
        if section.HasField("range"):
            start, end = section.range.start, section.range.end
        page = section.page if section.HasField("page") else None
        sections.append(Section(tuple(section.heading_path), section.text, start, end, page, section.uri))
    return Document(
        document_id=document.document_id,
        title=document.title,
        uri=document.uri,
        sections=tuple(sections),
        content_hash=hashlib.sha256(document.SerializeToString(deterministic=True)).hexdigest(),
        metadata=read_metadata(document.metadata),
    )


def write_rejection(document_id: str, field: str, description: str) -> indexer_pb2.UpsertDocumentsResponse:
    """Of one document."""
    return indexer_pb2.UpsertDocumentsResponse(
        document_id=document_id,
        outcome=indexer_pb2.UPSERT_OUTCOME_REJECTED,
        rejection=indexer_pb2.Rejection(field=field, description=description),
    )


def write_collection(writer: CollectionWriter) -> indexer_pb2.Collection:
    """As it is now."""
    analyzer = writer.settings.analyzer
    return indexer_pb2.Collection(
        name=writer.collection.name,
        analyzer=indexer_pb2.Analyzer(
            language=analyzer.language, stemming=analyzer.stemming, stop_words=analyzer.stop_words
        ),
        published_version=writer.published.index_version if writer.published else 0,
        num_documents=writer.num_documents,
        num_passages=writer.num_passages,
        num_unpublished_documents=writer.num_unpublished,
        created_at=writer.settings.created_at,
        fields=write_fields(writer.settings.fields),
        index=write_kind(writer.settings.kind),
    )


def write_kind(kind: IndexKind) -> indexer_pb2.Index:
    """With every default filled in."""
    return indexer_pb2.Index(factory=kind.factory, metric=NUMBER_BY_METRIC[kind.metric])


def write_advice(advice: Advice) -> indexer_pb2.AdviseIndexResponse:
    """Every candidate in its order."""
    return indexer_pb2.AdviseIndexResponse(
        num_passages=advice.num_passages,
        dimension=advice.dimension,
        index=write_kind(advice.kind),
        num_bytes=advice.num_bytes,
        num_sampled=advice.num_sampled,
        num_questions=advice.num_questions,
        candidates=[
            indexer_pb2.AdviseIndexResponse.Candidate(
                factory=one.kind.factory,
                num_bytes=one.num_bytes,
                recall=one.recall,
                search_ms=one.search_ms,
                num_needed_passages=one.kind.num_needed,
            )
            for one in advice.candidates
        ],
        recommended=advice.recommended.factory,
        reason=advice.reason,
        warnings=advice.warnings,
    )


def write_version(version: Manifest, published: Manifest | None) -> indexer_pb2.IndexVersion:
    """With whether it is the published one."""
    return indexer_pb2.IndexVersion(
        index_version=version.index_version,
        created_at=version.created_at,
        num_documents=version.num_documents,
        num_passages=version.num_passages,
        num_bytes=version.size,
        is_published=published is not None and published.index_version == version.index_version,
    )


def write_verification(found: Verification, published: Manifest | None) -> indexer_pb2.VerifyCollectionResponse:
    """Newest version first, and of the documents that are held the first few."""
    response = indexer_pb2.VerifyCollectionResponse(num_deleted_documents=found.num_deleted)
    response.log.num_records, response.log.fault = found.log.num_records, found.log.fault
    response.log.num_held_documents = len(found.log.held)
    response.log.held_document_ids[:] = sorted(found.log.held)[:MAX_NAMED_DOCUMENTS]
    for version in reversed(found.versions):
        response.versions.add(
            index_version=version.index_version,
            is_published=published is not None and published.index_version == version.index_version,
            fault=version.fault,
            num_held_documents=len(version.held),
            held_document_ids=sorted(version.held)[:MAX_NAMED_DOCUMENTS],
        )
    return response
