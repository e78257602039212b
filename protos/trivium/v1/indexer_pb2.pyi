import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from trivium.v1 import metadata_pb2 as _metadata_pb2
from trivium.v1 import passage_pb2 as _passage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DistanceMetric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISTANCE_METRIC_UNSPECIFIED: _ClassVar[DistanceMetric]
    DISTANCE_METRIC_INNER_PRODUCT: _ClassVar[DistanceMetric]
    DISTANCE_METRIC_COSINE: _ClassVar[DistanceMetric]

class UpsertOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPSERT_OUTCOME_UNSPECIFIED: _ClassVar[UpsertOutcome]
    UPSERT_OUTCOME_CREATED: _ClassVar[UpsertOutcome]
    UPSERT_OUTCOME_UPDATED: _ClassVar[UpsertOutcome]
    UPSERT_OUTCOME_UNCHANGED: _ClassVar[UpsertOutcome]
    UPSERT_OUTCOME_REJECTED: _ClassVar[UpsertOutcome]
    UPSERT_OUTCOME_CHECKED: _ClassVar[UpsertOutcome]
DISTANCE_METRIC_UNSPECIFIED: DistanceMetric
DISTANCE_METRIC_INNER_PRODUCT: DistanceMetric
DISTANCE_METRIC_COSINE: DistanceMetric
UPSERT_OUTCOME_UNSPECIFIED: UpsertOutcome
UPSERT_OUTCOME_CREATED: UpsertOutcome
UPSERT_OUTCOME_UPDATED: UpsertOutcome
UPSERT_OUTCOME_UNCHANGED: UpsertOutcome
UPSERT_OUTCOME_REJECTED: UpsertOutcome
UPSERT_OUTCOME_CHECKED: UpsertOutcome

class Section(_message.Message):
    __slots__ = ("heading_path", "text", "page", "range", "uri")
    HEADING_PATH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    heading_path: _containers.RepeatedScalarFieldContainer[str]
    text: str
    page: int
    range: _passage_pb2.CharacterRange
    uri: str
    def __init__(self, heading_path: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ..., page: _Optional[int] = ..., range: _Optional[_Union[_passage_pb2.CharacterRange, _Mapping]] = ..., uri: _Optional[str] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("document_id", "title", "uri", "sections", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _metadata_pb2.MetadataValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_metadata_pb2.MetadataValue, _Mapping]] = ...) -> None: ...
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    title: str
    uri: str
    sections: _containers.RepeatedCompositeFieldContainer[Section]
    metadata: _containers.MessageMap[str, _metadata_pb2.MetadataValue]
    def __init__(self, document_id: _Optional[str] = ..., title: _Optional[str] = ..., uri: _Optional[str] = ..., sections: _Optional[_Iterable[_Union[Section, _Mapping]]] = ..., metadata: _Optional[_Mapping[str, _metadata_pb2.MetadataValue]] = ...) -> None: ...

class EncodedDocument(_message.Message):
    __slots__ = ("document", "vectors", "made_by", "content_hash")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    MADE_BY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    document: Document
    vectors: bytes
    made_by: str
    content_hash: str
    def __init__(self, document: _Optional[_Union[Document, _Mapping]] = ..., vectors: _Optional[bytes] = ..., made_by: _Optional[str] = ..., content_hash: _Optional[str] = ...) -> None: ...

class Analyzer(_message.Message):
    __slots__ = ("language", "stemming", "stop_words")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    STEMMING_FIELD_NUMBER: _ClassVar[int]
    STOP_WORDS_FIELD_NUMBER: _ClassVar[int]
    language: str
    stemming: bool
    stop_words: bool
    def __init__(self, language: _Optional[str] = ..., stemming: _Optional[bool] = ..., stop_words: _Optional[bool] = ...) -> None: ...

class Index(_message.Message):
    __slots__ = ("factory", "metric")
    FACTORY_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    factory: str
    metric: DistanceMetric
    def __init__(self, factory: _Optional[str] = ..., metric: _Optional[_Union[DistanceMetric, str]] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "analyzer", "published_version", "num_documents", "num_passages", "num_unpublished_documents", "created_at", "index", "fields")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ANALYZER_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NUM_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    NUM_UNPUBLISHED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    analyzer: Analyzer
    published_version: int
    num_documents: int
    num_passages: int
    num_unpublished_documents: int
    created_at: _timestamp_pb2.Timestamp
    index: Index
    fields: _containers.RepeatedCompositeFieldContainer[_metadata_pb2.FieldDefinition]
    def __init__(self, name: _Optional[str] = ..., analyzer: _Optional[_Union[Analyzer, _Mapping]] = ..., published_version: _Optional[int] = ..., num_documents: _Optional[int] = ..., num_passages: _Optional[int] = ..., num_unpublished_documents: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., index: _Optional[_Union[Index, _Mapping]] = ..., fields: _Optional[_Iterable[_Union[_metadata_pb2.FieldDefinition, _Mapping]]] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "analyzer", "index", "fields")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ANALYZER_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    analyzer: Analyzer
    index: Index
    fields: _containers.RepeatedCompositeFieldContainer[_metadata_pb2.FieldDefinition]
    def __init__(self, name: _Optional[str] = ..., analyzer: _Optional[_Union[Analyzer, _Mapping]] = ..., index: _Optional[_Union[Index, _Mapping]] = ..., fields: _Optional[_Iterable[_Union[_metadata_pb2.FieldDefinition, _Mapping]]] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ...) -> None: ...

class GetCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCollectionResponse(_message.Message):
    __slots__ = ("collection", "made_by", "fingerprint", "dimension")
    class FingerprintEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    MADE_BY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    made_by: str
    fingerprint: _containers.ScalarMap[str, str]
    dimension: int
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ..., made_by: _Optional[str] = ..., fingerprint: _Optional[_Mapping[str, str]] = ..., dimension: _Optional[int] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections", "next_page_token")
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    next_page_token: str
    def __init__(self, collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteCollectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDocumentsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    __slots__ = ("document_id", "content_hash")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    content_hash: str
    def __init__(self, document_id: _Optional[str] = ..., content_hash: _Optional[str] = ...) -> None: ...

class UpsertDocumentsRequest(_message.Message):
    __slots__ = ("collection", "document", "encoded", "check_only")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    CHECK_ONLY_FIELD_NUMBER: _ClassVar[int]
    collection: str
    document: Document
    encoded: EncodedDocument
    check_only: bool
    def __init__(self, collection: _Optional[str] = ..., document: _Optional[_Union[Document, _Mapping]] = ..., encoded: _Optional[_Union[EncodedDocument, _Mapping]] = ..., check_only: _Optional[bool] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("field", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    description: str
    def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class UpsertDocumentsResponse(_message.Message):
    __slots__ = ("document_id", "outcome", "num_passages", "rejection", "num_long_passages")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    NUM_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    REJECTION_FIELD_NUMBER: _ClassVar[int]
    NUM_LONG_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    outcome: UpsertOutcome
    num_passages: int
    rejection: Rejection
    num_long_passages: int
    def __init__(self, document_id: _Optional[str] = ..., outcome: _Optional[_Union[UpsertOutcome, str]] = ..., num_passages: _Optional[int] = ..., rejection: _Optional[_Union[Rejection, _Mapping]] = ..., num_long_passages: _Optional[int] = ...) -> None: ...

class PublishVersionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class PublishVersionResponse(_message.Message):
    __slots__ = ("index_version", "num_documents", "num_passages")
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NUM_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    index_version: int
    num_documents: int
    num_passages: int
    def __init__(self, index_version: _Optional[int] = ..., num_documents: _Optional[int] = ..., num_passages: _Optional[int] = ...) -> None: ...

class DeleteDocumentsRequest(_message.Message):
    __slots__ = ("collection", "document_ids", "publish", "purge", "filter")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    PURGE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    document_ids: _containers.RepeatedScalarFieldContainer[str]
    publish: bool
    purge: bool
    filter: _metadata_pb2.Filter
    def __init__(self, collection: _Optional[str] = ..., document_ids: _Optional[_Iterable[str]] = ..., publish: _Optional[bool] = ..., purge: _Optional[bool] = ..., filter: _Optional[_Union[_metadata_pb2.Filter, _Mapping]] = ...) -> None: ...

class DeleteDocumentsResponse(_message.Message):
    __slots__ = ("deleted_document_ids", "absent_from_version", "num_deleted_documents", "held_by_versions")
    DELETED_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    NUM_DELETED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    deleted_document_ids: _containers.RepeatedScalarFieldContainer[str]
    absent_from_version: int
    num_deleted_documents: int
    held_by_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, deleted_document_ids: _Optional[_Iterable[str]] = ..., absent_from_version: _Optional[int] = ..., num_deleted_documents: _Optional[int] = ..., held_by_versions: _Optional[_Iterable[int]] = ...) -> None: ...

class IndexVersion(_message.Message):
    __slots__ = ("index_version", "created_at", "num_documents", "num_passages", "num_bytes", "is_published")
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    NUM_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NUM_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    IS_PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    index_version: int
    created_at: _timestamp_pb2.Timestamp
    num_documents: int
    num_passages: int
    num_bytes: int
    is_published: bool
    def __init__(self, index_version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., num_documents: _Optional[int] = ..., num_passages: _Optional[int] = ..., num_bytes: _Optional[int] = ..., is_published: _Optional[bool] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[IndexVersion]
    def __init__(self, versions: _Optional[_Iterable[_Union[IndexVersion, _Mapping]]] = ...) -> None: ...

class RollbackVersionRequest(_message.Message):
    __slots__ = ("collection", "index_version")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    index_version: int
    def __init__(self, collection: _Optional[str] = ..., index_version: _Optional[int] = ...) -> None: ...

class RollbackVersionResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: IndexVersion
    def __init__(self, version: _Optional[_Union[IndexVersion, _Mapping]] = ...) -> None: ...

class DeleteVersionRequest(_message.Message):
    __slots__ = ("collection", "index_version")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    index_version: int
    def __init__(self, collection: _Optional[str] = ..., index_version: _Optional[int] = ...) -> None: ...

class DeleteVersionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyCollectionRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class VerifyCollectionResponse(_message.Message):
    __slots__ = ("num_deleted_documents", "log", "versions")
    class LogCheck(_message.Message):
        __slots__ = ("num_records", "fault", "held_document_ids", "num_held_documents")
        NUM_RECORDS_FIELD_NUMBER: _ClassVar[int]
        FAULT_FIELD_NUMBER: _ClassVar[int]
        HELD_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
        NUM_HELD_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
        num_records: int
        fault: str
        held_document_ids: _containers.RepeatedScalarFieldContainer[str]
        num_held_documents: int
        def __init__(self, num_records: _Optional[int] = ..., fault: _Optional[str] = ..., held_document_ids: _Optional[_Iterable[str]] = ..., num_held_documents: _Optional[int] = ...) -> None: ...
    class VersionCheck(_message.Message):
        __slots__ = ("index_version", "is_published", "fault", "held_document_ids", "num_held_documents")
        INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
        IS_PUBLISHED_FIELD_NUMBER: _ClassVar[int]
        FAULT_FIELD_NUMBER: _ClassVar[int]
        HELD_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
        NUM_HELD_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
        index_version: int
        is_published: bool
        fault: str
        held_document_ids: _containers.RepeatedScalarFieldContainer[str]
        num_held_documents: int
        def __init__(self, index_version: _Optional[int] = ..., is_published: _Optional[bool] = ..., fault: _Optional[str] = ..., held_document_ids: _Optional[_Iterable[str]] = ..., num_held_documents: _Optional[int] = ...) -> None: ...
    NUM_DELETED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    num_deleted_documents: int
    log: VerifyCollectionResponse.LogCheck
    versions: _containers.RepeatedCompositeFieldContainer[VerifyCollectionResponse.VersionCheck]
    def __init__(self, num_deleted_documents: _Optional[int] = ..., log: _Optional[_Union[VerifyCollectionResponse.LogCheck, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[VerifyCollectionResponse.VersionCheck, _Mapping]]] = ...) -> None: ...

class AdviseIndexRequest(_message.Message):
    __slots__ = ("collection",)
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    def __init__(self, collection: _Optional[str] = ...) -> None: ...

class AdviseIndexResponse(_message.Message):
    __slots__ = ("num_passages", "dimension", "index", "num_bytes", "num_sampled", "num_questions", "candidates", "recommended", "reason", "warnings")
    class Candidate(_message.Message):
        __slots__ = ("factory", "num_bytes", "recall", "search_ms", "num_needed_passages")
        FACTORY_FIELD_NUMBER: _ClassVar[int]
        NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
        RECALL_FIELD_NUMBER: _ClassVar[int]
        SEARCH_MS_FIELD_NUMBER: _ClassVar[int]
        NUM_NEEDED_PASSAGES_FIELD_NUMBER: _ClassVar[int]
        factory: str
        num_bytes: int
        recall: float
        search_ms: float
        num_needed_passages: int
        def __init__(self, factory: _Optional[str] = ..., num_bytes: _Optional[int] = ..., recall: _Optional[float] = ..., search_ms: _Optional[float] = ..., num_needed_passages: _Optional[int] = ...) -> None: ...
    NUM_PASSAGES_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLED_FIELD_NUMBER: _ClassVar[int]
    NUM_QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    num_passages: int
    dimension: int
    index: Index
    num_bytes: int
    num_sampled: int
    num_questions: int
    candidates: _containers.RepeatedCompositeFieldContainer[AdviseIndexResponse.Candidate]
    recommended: str
    reason: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, num_passages: _Optional[int] = ..., dimension: _Optional[int] = ..., index: _Optional[_Union[Index, _Mapping]] = ..., num_bytes: _Optional[int] = ..., num_sampled: _Optional[int] = ..., num_questions: _Optional[int] = ..., candidates: _Optional[_Iterable[_Union[AdviseIndexResponse.Candidate, _Mapping]]] = ..., recommended: _Optional[str] = ..., reason: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...
