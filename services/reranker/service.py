"""The reranker on the wire."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import grpc

from chassis import checkpoint, deadline
from chassis.batcher import Batcher, Model
from chassis.checkpoint import Checkpoint
from chassis.config import ConfigError, Dtype
from chassis.errors import InvalidRequest
from chassis.runtime import Runtime
from chassis.stats import stage_stats
from chassis.validation import require_passage_id, require_passage_text, require_question, require_unique
from services.reranker.calibration import Calibration, find_calibration
from services.reranker.config import RerankerConfig
from services.reranker.cross_encoder import CrossEncoder
from services.reranker.late_interaction import LateInteraction
from services.reranker.pairs import Judgement, Pair, passage_text
from trivium.v1 import passage_pb2, reranker_pb2, reranker_pb2_grpc


class Engine(Model[Pair, Any, Judgement], Protocol):
    """A model that judges pairs, and knows which questions it can read."""

    max_question_tokens: int

    def count_tokens(self, question: str) -> int: ...


ENGINES: dict[str, Callable[[Path, str, int, Dtype], Engine]] = {
    "cross-encoder": CrossEncoder,
    "late-interaction": LateInteraction,
}
WARM_UP = [Pair("Which one is ready?", "This one."), Pair("Which one is ready?", "This one. " * 1_000)]
"""A short passage and one that fills the model."""
BRIEF = 500
"""Characters of a question that is tokenised on the event loop."""


class RerankerService(reranker_pb2_grpc.RerankerServiceServicer):
    """Scores candidates by one engine, one model, one device."""

    full_name = "trivium.v1.RerankerService"

    def __init__(self, config: RerankerConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._checkpoint: Checkpoint
        self._calibration: Calibration | None = None
        self._engine: Engine
        self._batcher: Batcher[Pair, Judgement] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        reranker_pb2_grpc.add_RerankerServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Raises ConfigError: no such model, one of another kind, or a calibration that is not its own."""
        self._checkpoint = await asyncio.to_thread(checkpoint.find, self._config.model)
        self._calibration = find_calibration(self._config.calibration, self._config.engine, self._checkpoint.sha256)
        self._engine = await self._runtime.on_device(self._load_blocking, self._checkpoint.path)
        self._batcher = self._runtime.batcher(self._engine)
        self._batcher.start()

    async def stop(self) -> None:
        if self._batcher:
            await self._batcher.close()

    async def Rerank(
        self,
        request: reranker_pb2.RerankRequest,
        context: grpc.aio.ServicerContext[reranker_pb2.RerankRequest, reranker_pb2.RerankResponse],
    ) -> reranker_pb2.RerankResponse:
        self._require_valid(request)
        await self._require_readable(request.question)
        assert self._batcher is not None
        pairs = _pairs(request)
        served = await self._batcher.submit_many(pairs, deadline=deadline.current())
        judgements = [one.output for one in served]
        return reranker_pb2.RerankResponse(
            scores=self._scores(request, pairs, judgements),
            abstention_threshold=self._calibration.abstention_threshold if self._calibration else None,
            stats=passage_pb2.StageStats(
                **stage_stats(
                    self._runtime,
                    self._checkpoint,
                    [one.stats for one in served],
                    truncated_tokens=sum(one.reading.truncated_tokens for one in judgements),
                    tokens=sum(one.num_tokens for one in judgements),
                )
            ),
        )

    def _load_blocking(self, path: Path) -> Engine:
        assert self._runtime.device is not None
        config, device = self._config, self._runtime.device.torch_name
        engine = ENGINES[config.engine](path, device, config.max_length, config.dtype)
        judgements = engine.run(engine.prepare(WARM_UP))
        if not all(math.isfinite(one.logit + one.evidence) for one in judgements):
            raise ConfigError(f"the model {self._config.model!r} gives scores that are not finite")
        return engine

    def _require_valid(self, request: reranker_pb2.RerankRequest) -> None:
        require_question(request.question)
        if not request.candidates:
            raise InvalidRequest("candidates", "must not be empty")
        if len(request.candidates) > self._config.max_candidates:
            raise InvalidRequest(
                "candidates", f"at most {self._config.max_candidates:,}, got {len(request.candidates):,}"
            )
        for number, candidate in enumerate(request.candidates):
            require_passage_id(f"candidates[{number}].passage_id", candidate.passage_id)
            require_passage_text(f"candidates[{number}].text", candidate.text)
        require_unique("candidates", "passage_id", (candidate.passage_id for candidate in request.candidates))

    async def _require_readable(self, question: str) -> None:
        count = self._engine.count_tokens
        # Tokenising so little takes less time than changing threads.
        num_tokens = count(question) if len(question) <= BRIEF else await asyncio.to_thread(count, question)
        if num_tokens > self._engine.max_question_tokens:
            raise InvalidRequest(
                "question",
                f"{num_tokens:,} tokens leave no room for a passage: at most {self._engine.max_question_tokens:,}",
            )

    def _scores(
        self, request: reranker_pb2.RerankRequest, pairs: list[Pair], judgements: list[Judgement]
    ) -> list[reranker_pb2.RerankScore]:
        scores = [
            reranker_pb2.RerankScore(
                passage_id=candidate.passage_id,
                logit=judgement.logit,
                evidence=judgement.evidence,
                probability=self._calibration.probability(judgement.evidence) if self._calibration else None,
                truncated_tokens=judgement.reading.truncated_tokens,
                passage_tokens=judgement.reading.num_tokens,
                text_characters=_characters_of_text(candidate, pair, judgement),
            )
            for candidate, pair, judgement in zip(request.candidates, pairs, judgements, strict=True)
        ]
        return sorted(scores, key=lambda score: (-score.logit, score.passage_id))


def _pairs(request: reranker_pb2.RerankRequest) -> list[Pair]:
    return [
        Pair(request.question, passage_text(candidate.title, candidate.heading_path, candidate.text))
        for candidate in request.candidates
    ]


def _characters_of_text(candidate: reranker_pb2.RerankCandidate, pair: Pair, judgement: Judgement) -> int:
    """How many were read behind title and headings."""
    num_before = len(pair.passage) - len(candidate.text)
    return max(0, judgement.reading.num_characters - num_before)
