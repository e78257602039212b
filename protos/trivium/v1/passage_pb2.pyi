from trivium.v1 import metadata_pb2 as _metadata_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CharacterRange(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Passage(_message.Message):
    __slots__ = ("passage_id", "document_id", "title", "heading_path", "text", "uri", "page", "range", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _metadata_pb2.MetadataValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_metadata_pb2.MetadataValue, _Mapping]] = ...) -> None: ...
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    HEADING_PATH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    passage_id: str
    document_id: str
    title: str
    heading_path: _containers.RepeatedScalarFieldContainer[str]
    text: str
    uri: str
    page: int
    range: CharacterRange
    metadata: _containers.MessageMap[str, _metadata_pb2.MetadataValue]
    def __init__(self, passage_id: _Optional[str] = ..., document_id: _Optional[str] = ..., title: _Optional[str] = ..., heading_path: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ..., uri: _Optional[str] = ..., page: _Optional[int] = ..., range: _Optional[_Union[CharacterRange, _Mapping]] = ..., metadata: _Optional[_Mapping[str, _metadata_pb2.MetadataValue]] = ...) -> None: ...

class Scores(_message.Message):
    __slots__ = ("dense_score", "dense_rank", "bm25_score", "bm25_rank", "fused_score", "fused_rank", "rerank_logit", "rerank_rank", "rerank_probability", "rerank_evidence", "blended_score", "blended_rank")
    DENSE_SCORE_FIELD_NUMBER: _ClassVar[int]
    DENSE_RANK_FIELD_NUMBER: _ClassVar[int]
    BM25_SCORE_FIELD_NUMBER: _ClassVar[int]
    BM25_RANK_FIELD_NUMBER: _ClassVar[int]
    FUSED_SCORE_FIELD_NUMBER: _ClassVar[int]
    FUSED_RANK_FIELD_NUMBER: _ClassVar[int]
    RERANK_LOGIT_FIELD_NUMBER: _ClassVar[int]
    RERANK_RANK_FIELD_NUMBER: _ClassVar[int]
    RERANK_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    RERANK_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    BLENDED_SCORE_FIELD_NUMBER: _ClassVar[int]
    BLENDED_RANK_FIELD_NUMBER: _ClassVar[int]
    dense_score: float
    dense_rank: int
    bm25_score: float
    bm25_rank: int
    fused_score: float
    fused_rank: int
    rerank_logit: float
    rerank_rank: int
    rerank_probability: float
    rerank_evidence: float
    blended_score: float
    blended_rank: int
    def __init__(self, dense_score: _Optional[float] = ..., dense_rank: _Optional[int] = ..., bm25_score: _Optional[float] = ..., bm25_rank: _Optional[int] = ..., fused_score: _Optional[float] = ..., fused_rank: _Optional[int] = ..., rerank_logit: _Optional[float] = ..., rerank_rank: _Optional[int] = ..., rerank_probability: _Optional[float] = ..., rerank_evidence: _Optional[float] = ..., blended_score: _Optional[float] = ..., blended_rank: _Optional[int] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("passage", "scores")
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    passage: Passage
    scores: Scores
    def __init__(self, passage: _Optional[_Union[Passage, _Mapping]] = ..., scores: _Optional[_Union[Scores, _Mapping]] = ...) -> None: ...

class StageStats(_message.Message):
    __slots__ = ("stage", "queue_ms", "compute_ms", "batch_size", "padding_ratio", "tokens", "truncated_tokens", "replica", "model", "revision", "time_to_first_token_ms", "time_per_output_token_ms")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    PADDING_RATIO_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TIME_PER_OUTPUT_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    queue_ms: float
    compute_ms: float
    batch_size: int
    padding_ratio: float
    tokens: int
    truncated_tokens: int
    replica: str
    model: str
    revision: str
    time_to_first_token_ms: float
    time_per_output_token_ms: float
    def __init__(self, stage: _Optional[str] = ..., queue_ms: _Optional[float] = ..., compute_ms: _Optional[float] = ..., batch_size: _Optional[int] = ..., padding_ratio: _Optional[float] = ..., tokens: _Optional[int] = ..., truncated_tokens: _Optional[int] = ..., replica: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., time_to_first_token_ms: _Optional[float] = ..., time_per_output_token_ms: _Optional[float] = ...) -> None: ...
