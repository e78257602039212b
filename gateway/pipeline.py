"""The way of a question through the three stages: the one place that names them all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from chassis.deadline import Deadline
from chassis.errors import DeadlinePassed, FailedPrecondition, Overloaded, TooLarge, Unavailable
from chassis.messages import carry
from gateway.evidence import Evidence
from gateway.journey import Journey
from gateway.question import Question
from gateway.stage_errors import StageFailed
from gateway.stages import Stages
from trivium.v1.gateway_pb2 import AnswerFinished, AnswerStreamResponse, Sources
from trivium.v1.generator_pb2 import (
    FinishReason,
    GenerateFinished,
    GenerateRequest,
    GenerateResponse,
)
from trivium.v1.retriever_pb2 import Degradation

Generate = Callable[[GenerateRequest, Deadline], AsyncGenerator[GenerateResponse]]

STAGE_LOST = (Unavailable, DeadlinePassed, Overloaded, TooLarge, StageFailed)
"""The stage is down, late, overloaded or broken. What is missing here is the caller's own fault."""


class Pipeline:
    """Takes questions through the stages. Holds nothing of any of them: what happened goes into the journey."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    async def answer(
        self, question: Question, generate: Generate, journey: Journey
    ) -> AsyncGenerator[AnswerStreamResponse]:
        """Sources once, then text as `generate` gives it, then exactly one AnswerFinished."""
        evidence = await self.search(question, journey)
        sources, is_sufficient = evidence.sources(), evidence.verdict().is_sufficient
        scores = evidence.dense_scores(sources)
        del evidence  # all candidates: not to be held while text is written
        yield AnswerStreamResponse(sources=Sources(sources=sources))
        if not is_sufficient:
            yield _without_text(FinishReason.FINISH_REASON_ABSTAINED, journey)
            return

        passages = [source.passage for source in sources]
        request = GenerateRequest(
            question=question.text, passages=passages, sampling=question.sampling, passage_scores=scores
        )
        has_text, finished = False, GenerateFinished()
        try:
            with journey.budget.stage("generator") as within:
                async with aclosing(generate(request, within)) as events:
                    async for event in events:
                        if event.HasField("delta"):
                            has_text = True
                            yield AnswerStreamResponse(delta=event.delta)
                        else:
                            finished = event.finished
        except (*STAGE_LOST, FailedPrecondition) as error:
            if has_text or not question.allow_sources_only:
                raise
            journey.degrade(Degradation.DEGRADATION_GENERATION_SKIPPED, error.code)
            yield _without_text(FinishReason.FINISH_REASON_SOURCES_ONLY, journey)
            return
        journey.passed(finished.stats)
        yield _written(finished, journey)

    async def search(self, question: Question, journey: Journey) -> Evidence:
        """What is found for a question."""
        with journey.budget.stage("retriever") as within:
            retrieved = await self._stages.retrieve(question.retrieval, within)
        journey.retrieved(retrieved)
        if not retrieved.candidates:
            return Evidence(question, retrieved)

        try:
            with journey.budget.stage("reranker") as within:
                reranked = await self._stages.rerank(question.text, retrieved.candidates, within)
        except STAGE_LOST as error:
            journey.degrade(Degradation.DEGRADATION_RERANK_SKIPPED, error.code)
            return Evidence(question, retrieved)
        journey.passed(reranked.stats)
        return Evidence(question, retrieved, reranked)


def _without_text(reason: FinishReason, journey: Journey) -> AnswerStreamResponse:
    return AnswerStreamResponse(finished=AnswerFinished(reason=reason, report=journey.report()))


def _written(finished: GenerateFinished, journey: Journey) -> AnswerStreamResponse:
    answer = AnswerFinished(report=journey.report())
    carry(finished, answer)
    return AnswerStreamResponse(finished=answer)
