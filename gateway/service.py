"""GatewayService: wire ↔ pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from chassis.messages import carry
from chassis.metrics import Metrics
from gateway.budget import answer_budget, search_budget
from gateway.config import GatewayConfig
from gateway.explanation import explain
from gateway.journey import Journey, step_name
from gateway.pipeline import Generate, Pipeline
from gateway.question import read_explanation, read_question, read_search
from gateway.stages import Stages
from trivium.v1 import gateway_pb2_grpc
from trivium.v1.gateway_pb2 import (
    AnswerRequest,
    AnswerResponse,
    AnswerStreamRequest,
    AnswerStreamResponse,
    ExplainRequest,
    ExplainResponse,
    SearchRequest,
    SearchResponse,
)
from trivium.v1.retriever_pb2 import Degradation

Context = grpc.aio.ServicerContext[Any, Any]

SKIPPED = [step for step in Degradation.values() if step != Degradation.DEGRADATION_UNSPECIFIED]


class GatewayService(gateway_pb2_grpc.GatewayServiceServicer):
    """Checks what a caller sends and takes it through the pipeline."""

    full_name = "trivium.v1.GatewayService"

    def __init__(self, config: GatewayConfig, metrics: Metrics) -> None:
        self._config = config
        self._degraded = metrics.degraded
        for step in SKIPPED:
            self._degraded.labels(step=step_name(step))
        self._stages = Stages(config)
        self._pipeline = Pipeline(self._stages)

    def register(self, server: grpc.aio.Server) -> None:
        """Serve the RPCs on this server."""
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Nothing to wait for: the gateway is ready without its stages, and says so to each question."""
        self._stages.start()

    async def stop(self) -> None:
        """Close the channels."""
        await self._stages.close()

    async def Answer(self, request: AnswerRequest, context: Context) -> AnswerResponse:
        """The whole answer. Nothing is sent before its end, so a generation that breaks is begun again."""
        sources, *deltas, last = [event async for event in self._answer(request, self._stages.generate_whole)]
        answer = AnswerResponse(
            text="".join(event.delta.text for event in deltas),
            sources=sources.sources.sources,
            quotes=[quote for event in deltas for quote in event.delta.quotes],
            tokens=[token for event in deltas for token in event.delta.tokens],
        )
        carry(last.finished, answer)
        return answer

    async def AnswerStream(
        self, request: AnswerStreamRequest, context: Context
    ) -> AsyncGenerator[AnswerStreamResponse]:
        """The answer as it is written."""
        async with aclosing(self._answer(request, self._stages.generate)) as events:
            async for event in events:
                yield event

    async def Search(self, request: SearchRequest, context: Context) -> SearchResponse:
        """The passages, and no answer."""
        question = read_search(request.question, request.search, self._config)
        journey = Journey(search_budget(self._config), self._degraded)
        evidence = await self._pipeline.search(question, journey)
        return SearchResponse(sources=evidence.sources(), report=journey.report())

    async def Explain(self, request: ExplainRequest, context: Context) -> ExplainResponse:
        """All that the same search finds, and what became of it."""
        question = read_explanation(request, self._config)
        journey = Journey(search_budget(self._config), self._degraded)
        evidence = await self._pipeline.search(question, journey)
        explained = await asyncio.to_thread(explain, evidence, self._config)  # thousands of candidates take long
        explained.report.CopyFrom(journey.report())
        return explained

    def _answer(
        self, request: AnswerRequest | AnswerStreamRequest, generate: Generate
    ) -> AsyncGenerator[AnswerStreamResponse]:
        question = read_question(request, self._config)
        journey = Journey(answer_budget(self._config, question.allow_sources_only), self._degraded)
        return self._pipeline.answer(question, generate, journey)
