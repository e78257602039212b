"""The generator on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from chassis import checkpoint, deadline, memory, precision
from chassis.answers import Answers
from chassis.checkpoint import EMBEDDED, Checkpoint
from chassis.config import ConfigError
from chassis.errors import InvalidRequest
from chassis.executor import SingleThread
from chassis.runtime import Runtime
from chassis.stats import stage_stats
from chassis.validation import (
    require_between,
    require_finite,
    require_passage_id,
    require_passage_text,
    require_question,
    require_unique,
)
from services.generator import warm_up
from services.generator.config import GeneratorConfig
from services.generator.engine import (
    AnswersWhole,
    Citations,
    Engine,
    Flies,
    Flight,
    Passage,
    Prompt,
    QuestionTooLong,
    Step,
)
from services.generator.engines.causal import Causal
from services.generator.engines.extractive import Extractive
from services.generator.engines.rag import RagSequence, RagToken
from services.generator.engines.seq2seq import Seq2Seq
from services.generator.engines.translator import Translator
from services.generator.loop.decoding import DecodingLoop
from services.generator.loop.flyer import Ended
from services.generator.loop.room import ONE, Room
from services.generator.loop.whole_answers import WholeAnswers, WholeEnded
from services.generator.prompts.prompt import TokenPrompt
from services.generator.prompts.prompt_template import PromptTemplate, choose
from services.generator.rows import cache_budget
from services.generator.rows.alone import Alone
from services.generator.wire import read_sampling, written_token
from trivium.v1 import generator_pb2, generator_pb2_grpc, passage_pb2

MAX_TEXTS = 1_000

ENGINES: dict[str, Callable[..., Engine[Any]]] = {
    "extractive": Extractive,
    "seq2seq": Seq2Seq,
    "ctranslate2": Translator,
    "causal": Causal,
    "rag-sequence": RagSequence,
    "rag-token": RagToken,
}
KINDS = {
    "extractive": generator_pb2.ANSWER_KIND_EXTRACTIVE,
    "generated": generator_pb2.ANSWER_KIND_GENERATED,
}
REASONS = {"stop": generator_pb2.FINISH_REASON_STOP, "length": generator_pb2.FINISH_REASON_LENGTH}


class GeneratorService(generator_pb2_grpc.GeneratorServiceServicer):
    """Answers by one engine, one model, one device."""

    full_name = "trivium.v1.GeneratorService"

    def __init__(self, config: GeneratorConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._answers = Answers(runtime.metrics)
        self._removed_citations = runtime.metrics.removed_citations
        self._cache_metrics = runtime.metrics.cache
        self._prompts = SingleThread("generator-prompts")
        self._checkpoint: Checkpoint
        self._engine: Engine[Any]
        self._loop: DecodingLoop | WholeAnswers | None = None

    def register(self, server: grpc.aio.Server) -> None:
        generator_pb2_grpc.add_GeneratorServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Raises ConfigError: no such model, or one of another kind."""
        if self._config.engine != "extractive" and self._config.model == EMBEDDED:
            raise ConfigError(f"the embedded model cannot write: the engine {self._config.engine} needs another")
        template = choose(self._config.prompt_template, self._config.engine)
        self._checkpoint = await asyncio.to_thread(checkpoint.find, self._config.model)
        self._engine = await self._runtime.on_device(self._load_blocking, self._checkpoint.path, template)
        self._loop = await self._new_loop(self._engine)
        self._loop.start()

    async def stop(self) -> None:
        if self._loop:
            await self._loop.close()
        self._prompts.close()

    async def Generate(
        self,
        request: generator_pb2.GenerateRequest,
        context: grpc.aio.ServicerContext[generator_pb2.GenerateRequest, generator_pb2.GenerateResponse],
    ) -> AsyncIterator[generator_pb2.GenerateResponse]:
        began = time.perf_counter()
        self._require_valid(request)
        assert self._loop is not None
        sampling = read_sampling(request.sampling, self._config.engine, self._engine.max_output_tokens)
        with self._answers.unfinished():
            prompt = await self._fit(request)
            async with contextlib.aclosing(self._loop.answer(prompt, sampling, deadline.current())) as events:
                async for event in events:
                    if isinstance(event, Ended):
                        ended = event
                    else:
                        yield generator_pb2.GenerateResponse(delta=_delta(event))
        self._answers.finished(ended.finish)
        yield generator_pb2.GenerateResponse(finished=self._finished(began, prompt, ended))

    async def CountTokens(
        self,
        request: generator_pb2.CountTokensRequest,
        context: grpc.aio.ServicerContext[generator_pb2.CountTokensRequest, generator_pb2.CountTokensResponse],
    ) -> generator_pb2.CountTokensResponse:
        if not 1 <= len(request.texts) <= MAX_TEXTS:
            raise InvalidRequest("texts", f"1 to {MAX_TEXTS:,}, got {len(request.texts):,}")
        num_tokens = await asyncio.to_thread(self._engine.count_tokens, list(request.texts))
        return generator_pb2.CountTokensResponse(
            num_tokens=num_tokens, max_prompt_tokens=self._engine.max_prompt_tokens
        )

    def _load_blocking(self, path: Path, template: PromptTemplate | None) -> Engine[Any]:
        assert self._runtime.device is not None
        config = self._config
        load = ENGINES[config.engine]
        device = self._runtime.device.torch_name
        options: dict[str, Any] = {}
        if is_rag(config):
            options = {"num_beams": config.num_beams, "max_batch_tokens": config.max_batch_tokens}
        elif config.engine == "ctranslate2":
            options = {"compute_type": config.compute_type, "template": template}
        elif config.engine != "extractive":
            options = {"dtype": precision.resolve(config.dtype, device), "template": template}
        return load(path, device, config.max_prompt_tokens, config.max_output_tokens, **options)

    async def _new_loop(self, engine: Engine[Any]) -> DecodingLoop | WholeAnswers:
        queue, on_device = self._runtime.queue(), self._runtime.on_device
        flight, room = await on_device(self._flight_blocking, engine)
        if isinstance(engine, AnswersWhole):
            return WholeAnswers(engine, queue, on_device, self._prompts, self._config.max_batch_tokens)
        return DecodingLoop(flight, queue, on_device, room, self._cache_metrics)

    def _flight_blocking(self, engine: Engine[Any]) -> tuple[Flight[Any], Room]:
        """How answers are written, after a first one: together where the engine can, else one at a time."""
        together = engine.flight() if isinstance(engine, Flies) else None
        flight, prompt = together or Alone(engine), warm_up.smallest_prompt(engine)
        warm_up.write(flight, prompt)
        if together is None:
            return flight, ONE
        max_cache_tokens = self._max_cache_tokens(engine, together.token_bytes(prompt, warm_up.SAMPLING))
        return flight, Room(self._config.max_rows, max_cache_tokens, self._config.max_prefill_tokens)

    def _max_cache_tokens(self, engine: Engine[Any], token_bytes: int) -> int:
        """The setting, or what there is memory for now. Raises ConfigError: too little."""
        assert self._runtime.device is not None
        largest = engine.max_prompt_tokens + engine.max_output_tokens
        tokens = self._config.max_cache_tokens or cache_budget.measured(
            memory.free_bytes(self._runtime.device), token_bytes, self._config.max_rows * largest
        )
        cache_budget.warn_of_refusals(tokens, largest)
        return tokens

    def _require_valid(self, request: generator_pb2.GenerateRequest) -> None:
        require_question(request.question)
        require_between("passages", len(request.passages), 1, self._config.max_passages)
        for number, passage in enumerate(request.passages):
            require_passage_id(f"passages[{number}].passage_id", passage.passage_id)
            require_passage_text(f"passages[{number}].text", passage.text)
            if passage.HasField("range") and passage.range.end - passage.range.start != len(passage.text):
                raise InvalidRequest(f"passages[{number}].range", "must be as long as the text")
        require_unique("passages", "passage_id", (passage.passage_id for passage in request.passages))
        self._require_scores(request)

    def _require_scores(self, request: generator_pb2.GenerateRequest) -> None:
        if not request.passage_scores:
            if is_rag(self._config):
                raise InvalidRequest(
                    "passage_scores", f"the engine {self._config.engine} needs a dense score for each passage"
                )
            return
        if len(request.passage_scores) != len(request.passages):
            raise InvalidRequest(
                "passage_scores",
                f"one for each of {len(request.passages):,} passages, got {len(request.passage_scores):,}",
            )
        for number, score in enumerate(request.passage_scores):
            require_finite(f"passage_scores[{number}]", score, -math.inf, math.inf)

    async def _fit(self, request: generator_pb2.GenerateRequest) -> Prompt:
        scores = request.passage_scores or itertools.repeat(0.0)
        passages = [_passage(passage, score) for passage, score in zip(request.passages, scores, strict=False)]
        try:
            prompt: Prompt = await self._prompts.run(self._engine.fit, request.question, passages)
        except QuestionTooLong as error:
            raise InvalidRequest("question", str(error)) from None
        return prompt

    def _finished(self, began: float, prompt: Prompt, ended: Ended) -> generator_pb2.GenerateFinished:
        first_text_s = None if ended.first_text_at is None else ended.first_text_at - began
        citations = ended.citations or Citations()
        self._removed_citations.inc(citations.num_removed)
        return generator_pb2.GenerateFinished(
            reason=REASONS[ended.finish],
            kind=KINDS[self._engine.kind],
            usage=generator_pb2.Usage(prompt_tokens=prompt.num_tokens, output_tokens=ended.num_tokens),
            dropped_passage_ids=prompt.dropped_passage_ids,
            passage_weights=_weights(ended),
            stop=ended.stop,
            prompt_template=prompt.template if isinstance(prompt, TokenPrompt) else "",
            cited_passage_ids=citations.passage_ids,
            num_removed_citations=citations.num_removed,
            stats=passage_pb2.StageStats(
                **stage_stats(
                    self._runtime,
                    self._checkpoint,
                    [ended.stats],
                    truncated_tokens=prompt.truncated_tokens,
                    tokens=prompt.num_tokens + ended.num_tokens,
                ),
                **self._answers.written(first_text_s, ended.seconds_per_token),
            ),
        )


def is_rag(config: GeneratorConfig) -> bool:
    """Whether the engine weighs passages by their scores."""
    return config.engine in ("rag-sequence", "rag-token")


def _passage(passage: passage_pb2.Passage, score: float) -> Passage:
    return Passage(passage.passage_id, passage.text, passage.title, passage.range.start, score)


def _weights(ended: Ended) -> list[generator_pb2.PassageWeight]:
    weights = ended.weight_by_passage_id if isinstance(ended, WholeEnded) else {}
    return [generator_pb2.PassageWeight(passage_id=passage_id, weight=weight) for passage_id, weight in weights.items()]


def _delta(step: Step) -> generator_pb2.TextDelta:
    return generator_pb2.TextDelta(
        text=step.text,
        quotes=[
            generator_pb2.Quote(
                passage_id=quote.passage_id,
                text=quote.text,
                range=passage_pb2.CharacterRange(start=quote.start, end=quote.end),
            )
            for quote in step.quotes
        ],
        tokens=map(written_token, step.tokens),
    )
