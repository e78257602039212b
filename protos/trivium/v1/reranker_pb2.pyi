from trivium.v1 import passage_pb2 as _passage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RerankCandidate(_message.Message):
    __slots__ = ("passage_id", "title", "heading_path", "text")
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    HEADING_PATH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    passage_id: str
    title: str
    heading_path: _containers.RepeatedScalarFieldContainer[str]
    text: str
    def __init__(self, passage_id: _Optional[str] = ..., title: _Optional[str] = ..., heading_path: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ...) -> None: ...

class RerankRequest(_message.Message):
    __slots__ = ("question", "candidates")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    question: str
    candidates: _containers.RepeatedCompositeFieldContainer[RerankCandidate]
    def __init__(self, question: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[RerankCandidate, _Mapping]]] = ...) -> None: ...

class RerankScore(_message.Message):
    __slots__ = ("passage_id", "logit", "probability", "truncated_tokens", "evidence", "passage_tokens", "text_characters")
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LOGIT_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    passage_id: str
    logit: float
    probability: float
    truncated_tokens: int
    evidence: float
    passage_tokens: int
    text_characters: int
    def __init__(self, passage_id: _Optional[str] = ..., logit: _Optional[float] = ..., probability: _Optional[float] = ..., truncated_tokens: _Optional[int] = ..., evidence: _Optional[float] = ..., passage_tokens: _Optional[int] = ..., text_characters: _Optional[int] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("scores", "abstention_threshold", "stats")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    ABSTENTION_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[RerankScore]
    abstention_threshold: float
    stats: _passage_pb2.StageStats
    def __init__(self, scores: _Optional[_Iterable[_Union[RerankScore, _Mapping]]] = ..., abstention_threshold: _Optional[float] = ..., stats: _Optional[_Union[_passage_pb2.StageStats, _Mapping]] = ...) -> None: ...
