"""One question asked in every way that is measured."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from cli.connection import Refusal
from cli.evaluation.measures import DEPTH
from cli.evaluation.question_set import Question
from cli.evaluation.site import Published, Site
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, generator_pb2, passage_pb2, retriever_pb2

RANKINGS = ("dense", "bm25", "fused", "reranked")
MODE_BY_LEG = {
    "dense": retriever_pb2.RETRIEVAL_MODE_DENSE,
    "bm25": retriever_pb2.RETRIEVAL_MODE_SPARSE,
    "fused": retriever_pb2.RETRIEVAL_MODE_HYBRID,
}
NUM_CANDIDATES = 30
"""The gateway's own where a question names none."""
FIRST_PASSAGES = 150
"""Asked of a leg at first; twice as many again while they are of fewer than 100 documents."""
MAX_ATTEMPTS = 4
"""Of a call that is refused because the system is full."""


class Degraded(Exception):
    """A step was left out, so the order is not the one to be measured."""


@dataclass(frozen=True)
class Wanted:
    """What is to be found out about a question."""

    rankings: bool
    """The order of documents by every ranking."""
    logits: bool
    """What the reranker made of its candidates."""
    answer: bool


@dataclass(frozen=True)
class Answered:
    """What `Answer` replied."""

    text: str
    quotes: Sequence[str]
    is_refused: bool
    is_generated: bool


@dataclass
class Findings:
    """All that was asked about one question."""

    rankings: dict[str, list[str]] = field(default_factory=dict)
    """Document ids, best first, by name of the ranking."""
    num_passages: dict[str, int] = field(default_factory=dict)
    """How many passages the ranking was asked for."""
    is_short: dict[str, bool] = field(default_factory=dict)
    """True when the passages asked for are of fewer documents than recall@100 looks at, and there may be more."""
    logits: list[tuple[float, str]] = field(default_factory=list)
    """What a probability is computed from (rerank evidence), and document id, of each candidate."""
    is_calibrated: bool = False
    """The reranker gave probabilities."""
    answered: Answered | None = None
    model_by_stage: dict[str, dict[str, str]] = field(default_factory=dict)


class Asking:
    """Asks the gateways. One may be used by many threads."""

    def __init__(
        self,
        site: Site,
        channels: dict[str, grpc.Channel],
        published: Published,
        num_candidates: int,
        timeout_s: float,
    ) -> None:
        """`channels` by address."""
        self._final = gateway_pb2_grpc.GatewayServiceStub(channels[site.gateway])
        self._legs = gateway_pb2_grpc.GatewayServiceStub(channels[site.legs_gateway])
        self._max_passages, self._published = site.max_passages, published
        self._num_candidates, self._timeout_s = num_candidates, timeout_s

    def ask(self, question: Question, wanted: Wanted) -> Findings:
        """Raises grpc.RpcError and Degraded."""
        findings = Findings()
        if wanted.rankings:
            for leg in MODE_BY_LEG:
                self._rank(question.text, leg, findings)
        if wanted.rankings or wanted.logits:
            self._rerank(question.text, findings)
        if wanted.answer:
            self._answer(question.text, findings)
        return findings

    def _rank(self, text: str, leg: str, findings: Findings) -> None:
        depth = min(DEPTH, self._published.num_documents)
        num_passages = min(FIRST_PASSAGES, self._max_passages)
        while True:
            # Weight 0 keeps the leg's own order, whoever reranks.
            reply = self._search(
                self._legs,
                text,
                mode=MODE_BY_LEG[leg],
                top_k=num_passages,
                num_candidates=num_passages,
                rerank_weight=0.0,
            )
            documents = _documents(reply.sources)
            is_short = len(documents) < depth and len(reply.sources) == num_passages
            if not is_short or num_passages == self._max_passages:
                break
            num_passages = min(2 * num_passages, self._max_passages)
        findings.rankings[leg], findings.num_passages[leg] = documents, num_passages
        findings.is_short[leg] = is_short
        _note_models(reply.report, findings)

    def _rerank(self, text: str, findings: Findings) -> None:
        """The gateway's final order; documents that were no candidates follow in fused order."""
        top_k = min(self._num_candidates, self._max_passages)
        reply = self._search(self._final, text, top_k=top_k, num_candidates=self._num_candidates)
        _require_whole(reply.report)
        candidates, fused = _documents(reply.sources), findings.rankings.get("fused", [])
        findings.rankings["reranked"] = list(dict.fromkeys([*candidates, *fused]))
        findings.num_passages["reranked"] = self._num_candidates
        findings.logits.extend(
            (_evidence(source.scores), source.passage.document_id)
            for source in reply.sources
            if source.scores.HasField("rerank_logit")
        )
        _note_models(reply.report, findings)

    def _search(
        self, stub: gateway_pb2_grpc.GatewayServiceStub, text: str, **options: Any
    ) -> gateway_pb2.SearchResponse:
        request = gateway_pb2.SearchRequest(question=text, search=self._options(**options))
        reply: gateway_pb2.SearchResponse = self._call(stub.Search, request)
        _require_whole(reply.report, allowed={retriever_pb2.DEGRADATION_RERANK_SKIPPED})
        return reply

    def _answer(self, text: str, findings: Findings) -> None:
        search = self._options(num_candidates=self._num_candidates)
        request = gateway_pb2.AnswerRequest(question=text, search=search)
        reply: gateway_pb2.AnswerResponse = self._call(self._final.Answer, request)
        _require_whole(reply.report)
        _note_models(reply.report, findings)
        findings.is_calibrated |= any(source.scores.HasField("rerank_probability") for source in reply.sources)
        findings.answered = Answered(
            text=reply.text,
            quotes=[quote.text for quote in reply.quotes],
            is_refused=reply.reason == generator_pb2.FINISH_REASON_ABSTAINED,
            is_generated=reply.kind == generator_pb2.ANSWER_KIND_GENERATED,
        )

    def _options(self, **options: Any) -> gateway_pb2.SearchOptions:
        return gateway_pb2.SearchOptions(
            collection=self._published.collection, min_index_version=self._published.index_version, **options
        )

    def _call(self, method: Any, request: Any) -> Any:
        """The reply. A system that is full is asked again when it says so."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return method(request, timeout=self._timeout_s)
            except grpc.RpcError as error:
                refusal = Refusal.of(error)
                if refusal.code != "RESOURCE_EXHAUSTED" or attempt == MAX_ATTEMPTS:
                    raise
                time.sleep(refusal.retry_after_s or 1.0)
        raise AssertionError("unreachable")


def _evidence(scores: passage_pb2.Scores) -> float:
    """Rerankers that are older than evidence compute probabilities from the logit."""
    return scores.rerank_evidence if scores.HasField("rerank_evidence") else scores.rerank_logit


def _documents(sources: Iterable[gateway_pb2.Source]) -> list[str]:
    """The documents, each where its best passage stands."""
    return list(dict.fromkeys(source.passage.document_id for source in sources))


def _require_whole(report: gateway_pb2.Report, allowed: Iterable[retriever_pb2.Degradation] = ()) -> None:
    left_out = [step for step in report.degraded if step not in set(allowed)]
    if left_out:
        names = (retriever_pb2.Degradation.Name(step).removeprefix("DEGRADATION_") for step in left_out)
        raise Degraded(f"degraded: {', '.join(names)} · trace {report.trace_id}")


def _note_models(report: gateway_pb2.Report, findings: Findings) -> None:
    for stage in report.stages:
        if stage.model:
            findings.model_by_stage[stage.stage] = {"model": stage.model, "revision": stage.revision}
