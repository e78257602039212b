from trivium.v1 import passage_pb2 as _passage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_ABSTAINED: _ClassVar[FinishReason]
    FINISH_REASON_SOURCES_ONLY: _ClassVar[FinishReason]

class AnswerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWER_KIND_UNSPECIFIED: _ClassVar[AnswerKind]
    ANSWER_KIND_EXTRACTIVE: _ClassVar[AnswerKind]
    ANSWER_KIND_GENERATED: _ClassVar[AnswerKind]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_ABSTAINED: FinishReason
FINISH_REASON_SOURCES_ONLY: FinishReason
ANSWER_KIND_UNSPECIFIED: AnswerKind
ANSWER_KIND_EXTRACTIVE: AnswerKind
ANSWER_KIND_GENERATED: AnswerKind

class Sampling(_message.Message):
    __slots__ = ("max_output_tokens", "min_output_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size", "seed", "stop", "num_beams", "num_top_logprobs")
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIN_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    NO_REPEAT_NGRAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    NUM_BEAMS_FIELD_NUMBER: _ClassVar[int]
    NUM_TOP_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    max_output_tokens: int
    min_output_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    num_beams: int
    num_top_logprobs: int
    def __init__(self, max_output_tokens: _Optional[int] = ..., min_output_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., min_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., no_repeat_ngram_size: _Optional[int] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., num_beams: _Optional[int] = ..., num_top_logprobs: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("question", "passages", "sampling", "passage_scores")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_SCORES_FIELD_NUMBER: _ClassVar[int]
    question: str
    passages: _containers.RepeatedCompositeFieldContainer[_passage_pb2.Passage]
    sampling: Sampling
    passage_scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, question: _Optional[str] = ..., passages: _Optional[_Iterable[_Union[_passage_pb2.Passage, _Mapping]]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., passage_scores: _Optional[_Iterable[float]] = ...) -> None: ...

class Quote(_message.Message):
    __slots__ = ("passage_id", "text", "range")
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    passage_id: str
    text: str
    range: _passage_pb2.CharacterRange
    def __init__(self, passage_id: _Optional[str] = ..., text: _Optional[str] = ..., range: _Optional[_Union[_passage_pb2.CharacterRange, _Mapping]] = ...) -> None: ...

class TokenLogprob(_message.Message):
    __slots__ = ("token_id", "token", "logprob")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    token: str
    logprob: float
    def __init__(self, token_id: _Optional[int] = ..., token: _Optional[str] = ..., logprob: _Optional[float] = ...) -> None: ...

class WrittenToken(_message.Message):
    __slots__ = ("chosen", "top")
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    chosen: TokenLogprob
    top: _containers.RepeatedCompositeFieldContainer[TokenLogprob]
    def __init__(self, chosen: _Optional[_Union[TokenLogprob, _Mapping]] = ..., top: _Optional[_Iterable[_Union[TokenLogprob, _Mapping]]] = ...) -> None: ...

class TextDelta(_message.Message):
    __slots__ = ("text", "quotes", "tokens")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUOTES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    text: str
    quotes: _containers.RepeatedCompositeFieldContainer[Quote]
    tokens: _containers.RepeatedCompositeFieldContainer[WrittenToken]
    def __init__(self, text: _Optional[str] = ..., quotes: _Optional[_Iterable[_Union[Quote, _Mapping]]] = ..., tokens: _Optional[_Iterable[_Union[WrittenToken, _Mapping]]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "output_tokens")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    output_tokens: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class PassageWeight(_message.Message):
    __slots__ = ("passage_id", "weight")
    PASSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    passage_id: str
    weight: float
    def __init__(self, passage_id: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class GenerateFinished(_message.Message):
    __slots__ = ("reason", "kind", "usage", "dropped_passage_ids", "stats", "passage_weights", "prompt_template", "cited_passage_ids", "num_removed_citations", "stop")
    REASON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_PASSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    CITED_PASSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    NUM_REMOVED_CITATIONS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    reason: FinishReason
    kind: AnswerKind
    usage: Usage
    dropped_passage_ids: _containers.RepeatedScalarFieldContainer[str]
    stats: _passage_pb2.StageStats
    passage_weights: _containers.RepeatedCompositeFieldContainer[PassageWeight]
    prompt_template: str
    cited_passage_ids: _containers.RepeatedScalarFieldContainer[str]
    num_removed_citations: int
    stop: str
    def __init__(self, reason: _Optional[_Union[FinishReason, str]] = ..., kind: _Optional[_Union[AnswerKind, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., dropped_passage_ids: _Optional[_Iterable[str]] = ..., stats: _Optional[_Union[_passage_pb2.StageStats, _Mapping]] = ..., passage_weights: _Optional[_Iterable[_Union[PassageWeight, _Mapping]]] = ..., prompt_template: _Optional[str] = ..., cited_passage_ids: _Optional[_Iterable[str]] = ..., num_removed_citations: _Optional[int] = ..., stop: _Optional[str] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("delta", "finished")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    delta: TextDelta
    finished: GenerateFinished
    def __init__(self, delta: _Optional[_Union[TextDelta, _Mapping]] = ..., finished: _Optional[_Union[GenerateFinished, _Mapping]] = ...) -> None: ...

class CountTokensRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class CountTokensResponse(_message.Message):
    __slots__ = ("num_tokens", "max_prompt_tokens")
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    num_tokens: _containers.RepeatedScalarFieldContainer[int]
    max_prompt_tokens: int
    def __init__(self, num_tokens: _Optional[_Iterable[int]] = ..., max_prompt_tokens: _Optional[int] = ...) -> None: ...
