from trivium.v1 import metadata_pb2 as _metadata_pb2
from trivium.v1 import passage_pb2 as _passage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetrievalMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRIEVAL_MODE_UNSPECIFIED: _ClassVar[RetrievalMode]
    RETRIEVAL_MODE_HYBRID: _ClassVar[RetrievalMode]
    RETRIEVAL_MODE_DENSE: _ClassVar[RetrievalMode]
    RETRIEVAL_MODE_SPARSE: _ClassVar[RetrievalMode]

class Degradation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEGRADATION_UNSPECIFIED: _ClassVar[Degradation]
    DEGRADATION_DENSE_SKIPPED: _ClassVar[Degradation]
    DEGRADATION_SPARSE_SKIPPED: _ClassVar[Degradation]
    DEGRADATION_RERANK_SKIPPED: _ClassVar[Degradation]
    DEGRADATION_GENERATION_SKIPPED: _ClassVar[Degradation]
RETRIEVAL_MODE_UNSPECIFIED: RetrievalMode
RETRIEVAL_MODE_HYBRID: RetrievalMode
RETRIEVAL_MODE_DENSE: RetrievalMode
RETRIEVAL_MODE_SPARSE: RetrievalMode
DEGRADATION_UNSPECIFIED: Degradation
DEGRADATION_DENSE_SKIPPED: Degradation
DEGRADATION_SPARSE_SKIPPED: Degradation
DEGRADATION_RERANK_SKIPPED: Degradation
DEGRADATION_GENERATION_SKIPPED: Degradation

class FusionWeights(_message.Message):
    __slots__ = ("dense_weight", "bm25_weight", "rrf_k")
    DENSE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    BM25_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RRF_K_FIELD_NUMBER: _ClassVar[int]
    dense_weight: float
    bm25_weight: float
    rrf_k: int
    def __init__(self, dense_weight: _Optional[float] = ..., bm25_weight: _Optional[float] = ..., rrf_k: _Optional[int] = ...) -> None: ...

class RetrieveRequest(_message.Message):
    __slots__ = ("question", "collection", "mode", "top_k", "fusion", "min_index_version", "explain", "passage_id", "filter")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    MIN_INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    question: str
    collection: str
    mode: RetrievalMode
    top_k: int
    fusion: FusionWeights
    min_index_version: int
    explain: bool
    passage_id: str
    filter: _metadata_pb2.Filter
    def __init__(self, question: _Optional[str] = ..., collection: _Optional[str] = ..., mode: _Optional[_Union[RetrievalMode, str]] = ..., top_k: _Optional[int] = ..., fusion: _Optional[_Union[FusionWeights, _Mapping]] = ..., min_index_version: _Optional[int] = ..., explain: _Optional[bool] = ..., passage_id: _Optional[str] = ..., filter: _Optional[_Union[_metadata_pb2.Filter, _Mapping]] = ...) -> None: ...

class PassageStanding(_message.Message):
    __slots__ = ("passage", "scores", "limit", "needed_top_k", "is_filtered_out")
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NEEDED_TOP_K_FIELD_NUMBER: _ClassVar[int]
    IS_FILTERED_OUT_FIELD_NUMBER: _ClassVar[int]
    passage: _passage_pb2.Passage
    scores: _passage_pb2.Scores
    limit: int
    needed_top_k: int
    is_filtered_out: bool
    def __init__(self, passage: _Optional[_Union[_passage_pb2.Passage, _Mapping]] = ..., scores: _Optional[_Union[_passage_pb2.Scores, _Mapping]] = ..., limit: _Optional[int] = ..., needed_top_k: _Optional[int] = ..., is_filtered_out: _Optional[bool] = ...) -> None: ...

class RetrievalExplanation(_message.Message):
    __slots__ = ("left_out", "leg_limit", "standing")
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    LEG_LIMIT_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    left_out: _containers.RepeatedCompositeFieldContainer[_passage_pb2.Candidate]
    leg_limit: int
    standing: PassageStanding
    def __init__(self, left_out: _Optional[_Iterable[_Union[_passage_pb2.Candidate, _Mapping]]] = ..., leg_limit: _Optional[int] = ..., standing: _Optional[_Union[PassageStanding, _Mapping]] = ...) -> None: ...

class RetrieveResponse(_message.Message):
    __slots__ = ("candidates", "index_version", "degraded", "stats", "explanation", "is_filtered")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    IS_FILTERED_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[_passage_pb2.Candidate]
    index_version: int
    degraded: _containers.RepeatedScalarFieldContainer[Degradation]
    stats: _passage_pb2.StageStats
    explanation: RetrievalExplanation
    is_filtered: bool
    def __init__(self, candidates: _Optional[_Iterable[_Union[_passage_pb2.Candidate, _Mapping]]] = ..., index_version: _Optional[int] = ..., degraded: _Optional[_Iterable[_Union[Degradation, str]]] = ..., stats: _Optional[_Union[_passage_pb2.StageStats, _Mapping]] = ..., explanation: _Optional[_Union[RetrievalExplanation, _Mapping]] = ..., is_filtered: _Optional[bool] = ...) -> None: ...
