"""Stage processes that do as they are told: real servers on real ports, so that faults can be timed.

An *act* is what a stage does to one call: `late(0.5)`, `fail(StatusCode.UNAVAILABLE)`. Acts are used up, one a
call; a stage without acts answers at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis.errors import rich_status
from trivium.v1.generator_pb2 import (
    AnswerKind,
    CountTokensRequest,
    CountTokensResponse,
    FinishReason,
    GenerateFinished,
    GenerateRequest,
    GenerateResponse,
    PassageWeight,
    TextDelta,
    TokenLogprob,
    Usage,
    WrittenToken,
)
from trivium.v1.generator_pb2_grpc import GeneratorServiceServicer, add_GeneratorServiceServicer_to_server
from trivium.v1.passage_pb2 import Candidate, Passage, Scores, StageStats
from trivium.v1.reranker_pb2 import RerankRequest, RerankResponse, RerankScore
from trivium.v1.reranker_pb2_grpc import RerankerServiceServicer, add_RerankerServiceServicer_to_server
from trivium.v1.retriever_pb2 import RetrieveRequest, RetrieveResponse
from trivium.v1.retriever_pb2_grpc import RetrieverServiceServicer, add_RetrieverServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]
Act = Callable[[Context], Awaitable[None]]

FOREVER_S = 60.0
SECRET = "what only the stage's log may say"


def late(seconds: float = FOREVER_S) -> Act:
    """Take that long, then go on."""

    async def act(context: Context) -> None:
        await asyncio.sleep(seconds)

    return act


def fail(code: grpc.StatusCode, *details: Message, text: str = SECRET) -> Act:
    """End the call with a status; with `details`, as the project's own servers send them."""

    async def act(context: Context) -> None:
        packed = rich_status(code, text, list(details)) if details else None
        await context.abort(code, text, (("grpc-status-details-bin", packed),) if packed else ())

    return act


class ScriptedStage:
    """What the three have in common: acts to come, and what happened."""

    full_name: str

    def __init__(self) -> None:
        self.acts: deque[Act] = deque()
        self.requests: list[Any] = []
        self.given_s: list[float] = []
        """The deadline that each call came with."""
        self.callers: list[bytes] = []
        """The certificate, in PEM, that each call came with over TLS."""
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.healths = health.aio.HealthServicer()
        self.port = 0

    @property
    def address(self) -> str:
        """Where it is served, once it is."""
        return f"127.0.0.1:{self.port}"

    @asynccontextmanager
    async def _act(self, request: Any, context: Context) -> AsyncIterator[None]:
        self.requests.append(request)
        remaining_s = context.time_remaining()
        assert remaining_s is not None, "a stage was called without a deadline"
        self.given_s.append(remaining_s)
        self.callers += context.auth_context().get("x509_pem_cert", ())
        self.called.set()
        try:
            if self.acts:
                await self.acts.popleft()(context)
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


class ScriptedRetriever(ScriptedStage, RetrieverServiceServicer):
    """Finds `passage_ids`, in that order."""

    full_name = "trivium.v1.RetrieverService"

    def __init__(self, passage_ids: Sequence[str]) -> None:
        super().__init__()
        self.response = RetrieveResponse(
            candidates=[_candidate(passage_id, rank) for rank, passage_id in enumerate(passage_ids, 1)],
            index_version=7,
            stats=StageStats(stage="retriever", compute_ms=1),
        )

    def register(self, server: grpc.aio.Server) -> None:
        add_RetrieverServiceServicer_to_server(self, server)

    def explains(self, left_out: Sequence[str]) -> None:
        """Say from now on that these were left out, in that order, and that the first of them was asked about."""
        explanation = self.response.explanation
        num_found = len(self.response.candidates)
        explanation.left_out.extend(_candidate(one, rank) for rank, one in enumerate(left_out, num_found + 1))
        explanation.leg_limit = 100
        if left_out:
            explanation.standing.passage.CopyFrom(explanation.left_out[0].passage)

    async def Retrieve(self, request: RetrieveRequest, context: Context) -> RetrieveResponse:
        async with self._act(request, context):
            return self.response


class ScriptedReranker(ScriptedStage, RerankerServiceServicer):
    """Puts the candidates in alphabetical order, the first with logit 0, the next -1 …"""

    full_name = "trivium.v1.RerankerService"

    def __init__(self) -> None:
        super().__init__()
        self.best_probability: float | None = None
        self.abstention_threshold: float | None = None
        self.forgets_a_candidate = False

    def register(self, server: grpc.aio.Server) -> None:
        add_RerankerServiceServicer_to_server(self, server)

    async def Rerank(self, request: RerankRequest, context: Context) -> RerankResponse:
        async with self._act(request, context):
            passage_ids = sorted(candidate.passage_id for candidate in request.candidates)
            return RerankResponse(
                scores=[
                    RerankScore(passage_id=passage_id, logit=-place, probability=self._probability(place))
                    for place, passage_id in enumerate(passage_ids[self.forgets_a_candidate :])
                ],
                abstention_threshold=self.abstention_threshold,
                stats=StageStats(stage="reranker", compute_ms=1),
            )

    def _probability(self, place: int) -> float | None:
        return None if self.best_probability is None else self.best_probability / (place + 1)


class ScriptedGenerator(ScriptedStage, GeneratorServiceServicer):
    """Writes `pieces`; after the first of them it does the next of `midway_acts`."""

    full_name = "trivium.v1.GeneratorService"

    def __init__(self, pieces: Sequence[str] = ("Forty", "-two ", "[1].")) -> None:
        super().__init__()
        self.pieces = pieces
        self.midway_acts: deque[Act] = deque()
        self.finishes = True

    def register(self, server: grpc.aio.Server) -> None:
        add_GeneratorServiceServicer_to_server(self, server)

    async def Generate(self, request: GenerateRequest, context: Context) -> AsyncIterator[GenerateResponse]:
        async with self._act(request, context):
            for position, piece in enumerate(self.pieces):
                token = WrittenToken(chosen=TokenLogprob(token_id=position, token=piece, logprob=-0.5))
                yield GenerateResponse(delta=TextDelta(text=piece, tokens=[token]))
                if position == 0 and self.midway_acts:
                    await self.midway_acts.popleft()(context)
            if self.finishes:
                yield GenerateResponse(finished=self._finished())

    async def CountTokens(self, request: CountTokensRequest, context: Context) -> CountTokensResponse:
        async with self._act(request, context):
            return CountTokensResponse(num_tokens=[len(text.split()) for text in request.texts])

    def _finished(self) -> GenerateFinished:
        return GenerateFinished(
            reason=FinishReason.FINISH_REASON_STOP,
            kind=AnswerKind.ANSWER_KIND_GENERATED,
            usage=Usage(prompt_tokens=30, output_tokens=3),
            dropped_passage_ids=["z"],
            passage_weights=[PassageWeight(passage_id="a", weight=0.75), PassageWeight(passage_id="b", weight=0.25)],
            stats=StageStats(stage="generator", compute_ms=1),
            prompt_template="cite-sources-1",
            cited_passage_ids=["b", "a"],
            num_removed_citations=2,
            stop="\n\n",
        )


@asynccontextmanager
async def serving(
    *stages: ScriptedRetriever | ScriptedReranker | ScriptedGenerator,
    credentials: Callable[[], grpc.ServerCredentials] | None = None,
    max_connection_age_s: float | None = None,
) -> AsyncIterator[None]:
    """Each stage on a free port, healthy, until the block ends; plain without `credentials`."""
    servers = [await _serve(stage, credentials() if credentials else None, max_connection_age_s) for stage in stages]
    try:
        yield
    finally:
        for server in servers:
            await server.stop(0)


async def _serve(
    stage: ScriptedRetriever | ScriptedReranker | ScriptedGenerator,
    credentials: grpc.ServerCredentials | None,
    max_connection_age_s: float | None,
) -> grpc.aio.Server:
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    if max_connection_age_s is not None:
        options.append(("grpc.max_connection_age_ms", int(max_connection_age_s * 1e3)))
    server = grpc.aio.server(options=options)
    stage.register(server)
    await stage.healths.set(stage.full_name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(stage.healths, server)
    if credentials is None:
        stage.port = server.add_insecure_port("127.0.0.1:0")
    else:
        stage.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return server


def _candidate(passage_id: str, rank: int) -> Candidate:
    passage = Passage(
        passage_id=passage_id,
        document_id="handbook",
        title="Handbook",
        heading_path=["Answers", passage_id],
        text=f"Text of {passage_id}.",
    )
    return Candidate(passage=passage, scores=Scores(fused_score=1 / (60 + rank), fused_rank=rank))
