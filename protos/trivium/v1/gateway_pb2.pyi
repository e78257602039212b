from trivium.v1 import generator_pb2 as _generator_pb2
from trivium.v1 import metadata_pb2 as _metadata_pb2
from trivium.v1 import passage_pb2 as _passage_pb2
from trivium.v1 import retriever_pb2 as _retriever_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CandidateOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANDIDATE_OUTCOME_UNSPECIFIED: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_KEPT: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_BEYOND_TOP_K: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_WEIGHTLESS: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_NOT_FOUND: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_FILTERED_OUT: _ClassVar[CandidateOutcome]
CANDIDATE_OUTCOME_UNSPECIFIED: CandidateOutcome
CANDIDATE_OUTCOME_KEPT: CandidateOutcome
CANDIDATE_OUTCOME_BEYOND_TOP_K: CandidateOutcome
CANDIDATE_OUTCOME_BEYOND_NUM_CANDIDATES: CandidateOutcome
CANDIDATE_OUTCOME_WEIGHTLESS: CandidateOutcome
CANDIDATE_OUTCOME_NOT_FOUND: CandidateOutcome
CANDIDATE_OUTCOME_FILTERED_OUT: CandidateOutcome

class SearchOptions(_message.Message):
    __slots__ = ("collection", "mode", "top_k", "num_candidates", "fusion", "rerank_weight", "min_index_version", "nprobe", "ef_search", "filter")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    NUM_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    RERANK_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    MIN_INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    NPROBE_FIELD_NUMBER: _ClassVar[int]
    EF_SEARCH_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    mode: _retriever_pb2.RetrievalMode
    top_k: int
    num_candidates: int
    fusion: _retriever_pb2.FusionWeights
    rerank_weight: float
    min_index_version: int
    nprobe: int
    ef_search: int
    filter: _metadata_pb2.Filter
    def __init__(self, collection: _Optional[str] = ..., mode: _Optional[_Union[_retriever_pb2.RetrievalMode, str]] = ..., top_k: _Optional[int] = ..., num_candidates: _Optional[int] = ..., fusion: _Optional[_Union[_retriever_pb2.FusionWeights, _Mapping]] = ..., rerank_weight: _Optional[float] = ..., min_index_version: _Optional[int] = ..., nprobe: _Optional[int] = ..., ef_search: _Optional[int] = ..., filter: _Optional[_Union[_metadata_pb2.Filter, _Mapping]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("number", "passage", "scores")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    number: int
    passage: _passage_pb2.Passage
    scores: _passage_pb2.Scores
    def __init__(self, number: _Optional[int] = ..., passage: _Optional[_Union[_passage_pb2.Passage, _Mapping]] = ..., scores: _Optional[_Union[_passage_pb2.Scores, _Mapping]] = ...) -> None: ...

class StageBudget(_message.Message):
    __slots__ = ("stage", "given_ms", "spent_ms")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    GIVEN_MS_FIELD_NUMBER: _ClassVar[int]
    SPENT_MS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    given_ms: float
    spent_ms: float
    def __init__(self, stage: _Optional[str] = ..., given_ms: _Optional[float] = ..., spent_ms: _Optional[float] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("trace_id", "index_version", "degraded", "stages", "budgets", "deadline_ms", "elapsed_ms", "gateway_ms")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_MS_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    index_version: int
    degraded: _containers.RepeatedScalarFieldContainer[_retriever_pb2.Degradation]
    stages: _containers.RepeatedCompositeFieldContainer[_passage_pb2.StageStats]
    budgets: _containers.RepeatedCompositeFieldContainer[StageBudget]
    deadline_ms: float
    elapsed_ms: float
    gateway_ms: float
    def __init__(self, trace_id: _Optional[str] = ..., index_version: _Optional[int] = ..., degraded: _Optional[_Iterable[_Union[_retriever_pb2.Degradation, str]]] = ..., stages: _Optional[_Iterable[_Union[_passage_pb2.StageStats, _Mapping]]] = ..., budgets: _Optional[_Iterable[_Union[StageBudget, _Mapping]]] = ..., deadline_ms: _Optional[float] = ..., elapsed_ms: _Optional[float] = ..., gateway_ms: _Optional[float] = ...) -> None: ...

class AnswerRequest(_message.Message):
    __slots__ = ("question", "search", "sampling", "allow_sources_only")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    ALLOW_SOURCES_ONLY_FIELD_NUMBER: _ClassVar[int]
    question: str
    search: SearchOptions
    sampling: _generator_pb2.Sampling
    allow_sources_only: bool
    def __init__(self, question: _Optional[str] = ..., search: _Optional[_Union[SearchOptions, _Mapping]] = ..., sampling: _Optional[_Union[_generator_pb2.Sampling, _Mapping]] = ..., allow_sources_only: _Optional[bool] = ...) -> None: ...

class AnswerResponse(_message.Message):
    __slots__ = ("text", "sources", "quotes", "reason", "kind", "usage", "dropped_passage_ids", "report", "passage_weights", "prompt_template", "cited_passage_ids", "num_removed_citations", "stop", "tokens")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    QUOTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_PASSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    CITED_PASSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_REMOVED_CITATIONS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    text: str
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    quotes: _containers.RepeatedCompositeFieldContainer[_generator_pb2.Quote]
    reason: _generator_pb2.FinishReason
    kind: _generator_pb2.AnswerKind
    usage: _generator_pb2.Usage
    dropped_passage_ids: _containers.RepeatedScalarFieldContainer[str]
    report: Report
    passage_weights: _containers.RepeatedCompositeFieldContainer[_generator_pb2.PassageWeight]
    prompt_template: str
    cited_passage_ids: _containers.RepeatedScalarFieldContainer[str]
    num_removed_citations: int
    stop: str
    tokens: _containers.RepeatedCompositeFieldContainer[_generator_pb2.WrittenToken]
    def __init__(self, text: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., quotes: _Optional[_Iterable[_Union[_generator_pb2.Quote, _Mapping]]] = ..., reason: _Optional[_Union[_generator_pb2.FinishReason, str]] = ..., kind: _Optional[_Union[_generator_pb2.AnswerKind, str]] = ..., usage: _Optional[_Union[_generator_pb2.Usage, _Mapping]] = ..., dropped_passage_ids: _Optional[_Iterable[str]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., passage_weights: _Optional[_Iterable[_Union[_generator_pb2.PassageWeight, _Mapping]]] = ..., prompt_template: _Optional[str] = ..., cited_passage_ids: _Optional[_Iterable[str]] = ..., num_removed_citations: _Optional[int] = ..., stop: _Optional[str] = ..., tokens: _Optional[_Iterable[_Union[_generator_pb2.WrittenToken, _Mapping]]] = ...) -> None: ...

class AnswerStreamRequest(_message.Message):
    __slots__ = ("question", "search", "sampling", "allow_sources_only")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    ALLOW_SOURCES_ONLY_FIELD_NUMBER: _ClassVar[int]
    question: str
    search: SearchOptions
    sampling: _generator_pb2.Sampling
    allow_sources_only: bool
    def __init__(self, question: _Optional[str] = ..., search: _Optional[_Union[SearchOptions, _Mapping]] = ..., sampling: _Optional[_Union[_generator_pb2.Sampling, _Mapping]] = ..., allow_sources_only: _Optional[bool] = ...) -> None: ...

class Sources(_message.Message):
    __slots__ = ("sources",)
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    def __init__(self, sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ...) -> None: ...

class AnswerFinished(_message.Message):
    __slots__ = ("reason", "kind", "usage", "dropped_passage_ids", "report", "passage_weights", "prompt_template", "cited_passage_ids", "num_removed_citations", "stop")
    REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_PASSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    CITED_PASSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_REMOVED_CITATIONS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    reason: _generator_pb2.FinishReason
    kind: _generator_pb2.AnswerKind
    usage: _generator_pb2.Usage
    dropped_passage_ids: _containers.RepeatedScalarFieldContainer[str]
    report: Report
    passage_weights: _containers.RepeatedCompositeFieldContainer[_generator_pb2.PassageWeight]
    prompt_template: str
    cited_passage_ids: _containers.RepeatedScalarFieldContainer[str]
    num_removed_citations: int
    stop: str
    def __init__(self, reason: _Optional[_Union[_generator_pb2.FinishReason, str]] = ..., kind: _Optional[_Union[_generator_pb2.AnswerKind, str]] = ..., usage: _Optional[_Union[_generator_pb2.Usage, _Mapping]] = ..., dropped_passage_ids: _Optional[_Iterable[str]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., passage_weights: _Optional[_Iterable[_Union[_generator_pb2.PassageWeight, _Mapping]]] = ..., prompt_template: _Optional[str] = ..., cited_passage_ids: _Optional[_Iterable[str]] = ..., num_removed_citations: _Optional[int] = ..., stop: _Optional[str] = ...) -> None: ...

class AnswerStreamResponse(_message.Message):
    __slots__ = ("sources", "delta", "finished")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    sources: Sources
    delta: _generator_pb2.TextDelta
    finished: AnswerFinished
    def __init__(self, sources: _Optional[_Union[Sources, _Mapping]] = ..., delta: _Optional[_Union[_generator_pb2.TextDelta, _Mapping]] = ..., finished: _Optional[_Union[AnswerFinished, _Mapping]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("question", "search")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    question: str
    search: SearchOptions
    def __init__(self, question: _Optional[str] = ..., search: _Optional[_Union[SearchOptions, _Mapping]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("sources", "report")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    report: Report
    def __init__(self, sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("question", "search", "passage_id")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    question: str
    search: SearchOptions
    passage_id: str
    def __init__(self, question: _Optional[str] = ..., search: _Optional[_Union[SearchOptions, _Mapping]] = ..., passage_id: _Optional[str] = ...) -> None: ...

class RerankReading(_message.Message):
    __slots__ = ("tokens", "truncated_tokens", "text_characters")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    truncated_tokens: int
    text_characters: int
    def __init__(self, tokens: _Optional[int] = ..., truncated_tokens: _Optional[int] = ..., text_characters: _Optional[int] = ...) -> None: ...

class ExplainedCandidate(_message.Message):
    __slots__ = ("passage", "scores", "reading", "outcome", "number")
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    READING_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    passage: _passage_pb2.Passage
    scores: _passage_pb2.Scores
    reading: RerankReading
    outcome: CandidateOutcome
    number: int
    def __init__(self, passage: _Optional[_Union[_passage_pb2.Passage, _Mapping]] = ..., scores: _Optional[_Union[_passage_pb2.Scores, _Mapping]] = ..., reading: _Optional[_Union[RerankReading, _Mapping]] = ..., outcome: _Optional[_Union[CandidateOutcome, str]] = ..., number: _Optional[int] = ...) -> None: ...

class PassageExplanation(_message.Message):
    __slots__ = ("candidate", "standing", "standing_limit", "needed_top_k", "needed_num_candidates")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    STANDING_LIMIT_FIELD_NUMBER: _ClassVar[int]
    NEEDED_TOP_K_FIELD_NUMBER: _ClassVar[int]
    NEEDED_NUM_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    candidate: ExplainedCandidate
    standing: _passage_pb2.Scores
    standing_limit: int
    needed_top_k: int
    needed_num_candidates: int
    def __init__(self, candidate: _Optional[_Union[ExplainedCandidate, _Mapping]] = ..., standing: _Optional[_Union[_passage_pb2.Scores, _Mapping]] = ..., standing_limit: _Optional[int] = ..., needed_top_k: _Optional[int] = ..., needed_num_candidates: _Optional[int] = ...) -> None: ...

class EvidenceVerdict(_message.Message):
    __slots__ = ("is_sufficient", "best_probability", "threshold")
    IS_SUFFICIENT_FIELD_NUMBER: _ClassVar[int]
    BEST_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    is_sufficient: bool
    best_probability: float
    threshold: float
    def __init__(self, is_sufficient: _Optional[bool] = ..., best_probability: _Optional[float] = ..., threshold: _Optional[float] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("candidates", "passage", "evidence", "search", "leg_limit", "report")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    LEG_LIMIT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[ExplainedCandidate]
    passage: PassageExplanation
    evidence: EvidenceVerdict
    search: SearchOptions
    leg_limit: int
    report: Report
    def __init__(self, candidates: _Optional[_Iterable[_Union[ExplainedCandidate, _Mapping]]] = ..., passage: _Optional[_Union[PassageExplanation, _Mapping]] = ..., evidence: _Optional[_Union[EvidenceVerdict, _Mapping]] = ..., search: _Optional[_Union[SearchOptions, _Mapping]] = ..., leg_limit: _Optional[int] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...
