"""A question as a caller asked it, checked, with defaults filled in. What only a stage can judge it judges."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chassis.errors import InvalidRequest
from chassis.messages import value_by_name
from chassis.sampling import require_sampling
from chassis.validation import (
    require_between,
    require_enum,
    require_finite,
    require_passage_id,
    require_question,
)
from gateway.config import GatewayConfig
from trivium.v1.gateway_pb2 import AnswerRequest, AnswerStreamRequest, ExplainRequest, SearchOptions
from trivium.v1.generator_pb2 import Sampling
from trivium.v1.retriever_pb2 import RetrievalMode, RetrieveRequest

DEFAULT_TOP_K = 5
DEFAULT_NUM_CANDIDATES = 30


@dataclass(frozen=True)
class Question:
    """What the user asked, how its passages are to be found, and how its answer is to be written."""

    text: str
    retrieval: RetrieveRequest
    """Ready for the retriever."""
    top_k: int
    """How many passages are kept."""
    rerank_weight: float
    """1 takes the reranker's order alone, 0 the retriever's."""
    sampling: Sampling | None = None
    """How the answer is written. None leaves it to the generator."""
    allow_sources_only: bool = False
    """Sources without an answer will do when the generator is late or down."""


def read_question(request: AnswerRequest | AnswerStreamRequest, config: GatewayConfig) -> Question:
    """The question that a request wants answered. Raises InvalidRequest, naming the request's field.

    Of its sampling the contract's limits are checked; a generator's own may be narrower.
    """
    require_sampling(value_by_name(request.sampling))
    return replace(
        read_search(request.question, request.search, config),
        sampling=request.sampling if request.HasField("sampling") else None,
        allow_sources_only=request.allow_sources_only,
    )


def read_search(text: str, options: SearchOptions, config: GatewayConfig) -> Question:
    """A question whose passages are wanted. Raises InvalidRequest, naming the request's field."""
    require_question(text)
    require_enum("search.mode", options.mode, RetrievalMode)
    top_k = _top_k(options, config)
    return Question(
        text=text,
        retrieval=RetrieveRequest(
            question=text,
            collection=options.collection,
            mode=options.mode,
            top_k=_num_candidates(options, top_k, config),
            fusion=options.fusion if options.HasField("fusion") else None,
            min_index_version=options.min_index_version,
            filter=options.filter if options.HasField("filter") else None,
            nprobe=options.nprobe if options.HasField("nprobe") else None,
            ef_search=options.ef_search if options.HasField("ef_search") else None,
        ),
        top_k=top_k,
        rerank_weight=_rerank_weight(options, config),
    )


def read_explanation(request: ExplainRequest, config: GatewayConfig) -> Question:
    """A question whose ranking is to be explained. Raises InvalidRequest, naming the request's field."""
    question = read_search(request.question, request.search, config)
    question.retrieval.explain = True
    if request.HasField("passage_id"):
        require_passage_id("passage_id", request.passage_id)
        question.retrieval.passage_id = request.passage_id
    return question


def _top_k(options: SearchOptions, config: GatewayConfig) -> int:
    if not options.HasField("top_k"):
        return min(DEFAULT_TOP_K, config.max_top_k)
    require_between("search.top_k", options.top_k, 1, config.max_top_k)
    return options.top_k


def _num_candidates(options: SearchOptions, top_k: int, config: GatewayConfig) -> int:
    if not options.HasField("num_candidates"):
        return max(top_k, min(DEFAULT_NUM_CANDIDATES, config.max_candidates))
    require_between("search.num_candidates", options.num_candidates, 1, config.max_candidates)
    if options.num_candidates < top_k:
        raise InvalidRequest("search.num_candidates", f"at least top_k ({top_k:,}), got {options.num_candidates:,}")
    return options.num_candidates


def _rerank_weight(options: SearchOptions, config: GatewayConfig) -> float:
    if not options.HasField("rerank_weight"):
        return config.rerank_weight
    require_finite("search.rerank_weight", options.rerank_weight, 0, 1)
    return options.rerank_weight
