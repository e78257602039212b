"""The retriever on the wire."""

from __future__ import annotations

import logging

import grpc
from opentelemetry import trace
from opentelemetry.semconv._incubating.attributes.rpc_attributes import RPC_RESPONSE_STATUS_CODE

from chassis import attributes, deadline
from chassis.batcher import Batcher
from chassis.checkpoint import Checkpoint
from chassis.errors import FailedPrecondition, InvalidRequest, NotFound, TriviumError
from chassis.runtime import Runtime
from chassis.stats import stage_stats
from chassis.validation import (
    require_between,
    require_enum,
    require_finite,
    require_passage_id,
    require_question,
)
from services.retriever.collection import DEFAULT_NAME, NAME, NAME_RULE, CorruptPointer
from services.retriever.config import RetrieverConfig
from services.retriever.encoder import Encoded, Text
from services.retriever.explanation import Standing, find_left_out, find_standing
from services.retriever.filter import check
from services.retriever.follower import CannotBeLoaded, Follower, NoSuchCollection, NothingPublished
from services.retriever.fusion import Found, Ranked, Weights
from services.retriever.loader import load_encoder
from services.retriever.manifest import CorruptVersion, UnreadableIndex
from services.retriever.passage import Passage
from services.retriever.search import Findings, Mode, Search, Searcher
from services.retriever.version import EncoderMismatch, Version
from services.retriever.wire import field_at_fault, read_filter, write_metadata
from trivium.v1 import passage_pb2, retriever_pb2, retriever_pb2_grpc

logger = logging.getLogger(__name__)

DEFAULT_TOP_K = 50
MAX_WEIGHT = 100
MAX_RRF_K = 10_000
MODE_BY_NUMBER = {
    retriever_pb2.RETRIEVAL_MODE_UNSPECIFIED: Mode.HYBRID,
    retriever_pb2.RETRIEVAL_MODE_HYBRID: Mode.HYBRID,
    retriever_pb2.RETRIEVAL_MODE_DENSE: Mode.DENSE,
    retriever_pb2.RETRIEVAL_MODE_SPARSE: Mode.SPARSE,
}


class RetrieverService(retriever_pb2_grpc.RetrieverServiceServicer):
    """Searches the published versions of all collections with one encoder."""

    full_name = "trivium.v1.RetrieverService"

    def __init__(self, config: RetrieverConfig, runtime: Runtime) -> None:
        self._config = config
        self._runtime = runtime
        self._checkpoint: Checkpoint
        self._batcher: Batcher[Text, Encoded] | None = None
        self._searcher: Searcher | None = None
        self._follower: Follower | None = None

    def register(self, server: grpc.aio.Server) -> None:
        retriever_pb2_grpc.add_RetrieverServiceServicer_to_server(self, server)

    async def start(self) -> None:
        """Raises ConfigError: no such encoder. No collection need be there."""
        encoder = await load_encoder(self._config, self._runtime, "question")
        self._checkpoint = encoder.checkpoint
        self._batcher = self._runtime.batcher(encoder)
        self._batcher.start()
        self._searcher = Searcher(self._batcher)
        self._follower = Follower(
            self._config.collections_path,
            encoder.fingerprint,
            self._config.poll_interval_s,
            self,
        )
        await self._follower.start()

    def served(self, collection: str, index_version: int, num_live_passages: int) -> None:
        """Called by the follower."""
        self._runtime.metrics.index_version.labels(collection=collection).set(index_version)
        self._runtime.metrics.live_passages.labels(collection=collection).set(num_live_passages)

    def dropped(self, collection: str) -> None:
        """Called by the follower."""
        self._runtime.metrics.index_version.remove(collection)
        self._runtime.metrics.live_passages.remove(collection)

    async def stop(self) -> None:
        if self._follower:
            await self._follower.stop()
        if self._batcher:
            await self._batcher.close()
        if self._searcher:
            self._searcher.close()

    async def Retrieve(
        self,
        request: retriever_pb2.RetrieveRequest,
        context: grpc.aio.ServicerContext[retriever_pb2.RetrieveRequest, retriever_pb2.RetrieveResponse],
    ) -> retriever_pb2.RetrieveResponse:
        search = self._search(request)
        version = await self._version(request.collection or DEFAULT_NAME, request.min_index_version)
        if search.filter:
            with field_at_fault():
                check(search.filter, version.columns.fields)
        trace.get_current_span().set_attribute(attributes.INDEX_VERSION, version.index_version)
        assert self._searcher is not None
        findings = await self._searcher.search(version, search, deadline.current())
        return retriever_pb2.RetrieveResponse(
            candidates=[_candidate(found, passage) for found, passage in findings.found],
            index_version=version.index_version,
            degraded=_degraded(findings),
            stats=self._stats(findings),
            explanation=await self._explanation(request, version, search, findings) if request.explain else None,
            is_filtered=search.filter is not None,
        )

    def _search(self, request: retriever_pb2.RetrieveRequest) -> Search:
        require_question(request.question)
        if request.collection and not NAME.fullmatch(request.collection):
            raise InvalidRequest("collection", NAME_RULE)
        require_enum("mode", request.mode, retriever_pb2.RetrievalMode)
        if request.HasField("passage_id"):
            require_passage_id("passage_id", request.passage_id)
        top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
        require_between("top_k", top_k, 1, self._config.max_top_k)
        weights = _weights(request.fusion)
        with field_at_fault():
            wanted = read_filter(request.filter) if request.HasField("filter") else None
        return Search(request.question, MODE_BY_NUMBER[request.mode], top_k, weights, wanted)

    async def _explanation(
        self, request: retriever_pb2.RetrieveRequest, version: Version, search: Search, findings: Findings
    ) -> retriever_pb2.RetrievalExplanation:
        assert self._searcher is not None
        passage_id = request.passage_id if request.HasField("passage_id") else None
        return await self._searcher.on_thread(
            _explain_blocking, version, search, findings, passage_id, self._config.max_top_k
        )

    async def _version(self, name: str, at_least: int) -> Version:
        assert self._follower is not None
        try:
            return await self._follower.version(name, at_least)
        except NoSuchCollection:
            raise NotFound("collection", name) from None
        except NothingPublished:
            raise FailedPrecondition("INDEX_NOT_PUBLISHED", "the collection has no published version") from None
        except EncoderMismatch as mismatch:
            raise FailedPrecondition("ENCODER_MISMATCH", str(mismatch), **mismatch.differences) from None
        except (CorruptPointer, CorruptVersion, UnreadableIndex):
            raise FailedPrecondition(
                "INDEX_CORRUPT", "the published version failed verification; the retriever's log names the file"
            ) from None
        except CannotBeLoaded:
            raise FailedPrecondition(
                "INDEX_NOT_LOADED",
                "the published version could not be loaded and will be tried again; the log says why",
            ) from None

    def _stats(self, findings: Findings) -> passage_pb2.StageStats:
        if findings.encoded is None:
            return passage_pb2.StageStats(**stage_stats(self._runtime, None, []))
        encoded = findings.encoded.output
        return passage_pb2.StageStats(
            **stage_stats(
                self._runtime,
                self._checkpoint,
                [findings.encoded.stats],
                truncated_tokens=encoded.truncated_tokens,
                tokens=encoded.num_tokens,
            )
        )


def _explain_blocking(
    version: Version, search: Search, findings: Findings, passage_id: str | None, max_top_k: int
) -> retriever_pb2.RetrievalExplanation:
    """Thousands of candidates take a tenth of a second. Raises NotFound: no such passage."""
    left_out = find_left_out(version, search, findings)
    explanation = retriever_pb2.RetrievalExplanation(
        left_out=[_candidate(found, passage) for found, passage in left_out], leg_limit=search.limit
    )
    if passage_id is not None:
        standing = find_standing(version, search, findings, passage_id, max_top_k)
        if standing is None:
            raise NotFound("passage", passage_id)
        explanation.standing.CopyFrom(_standing(standing))
    return explanation


def _weights(fusion: retriever_pb2.FusionWeights) -> Weights:
    dense = fusion.dense_weight if fusion.HasField("dense_weight") else 1.0
    bm25 = fusion.bm25_weight if fusion.HasField("bm25_weight") else 1.0
    k = fusion.rrf_k if fusion.HasField("rrf_k") else 60
    require_finite("fusion.dense_weight", dense, 0, MAX_WEIGHT)
    require_finite("fusion.bm25_weight", bm25, 0, MAX_WEIGHT)
    require_between("fusion.rrf_k", k, 1, MAX_RRF_K)
    if dense == bm25 == 0:
        raise InvalidRequest("fusion", "not both weights may be 0")
    return Weights(dense, bm25, k)


def _degraded(findings: Findings) -> list[retriever_pb2.Degradation]:
    legs = [
        (retriever_pb2.DEGRADATION_DENSE_SKIPPED, findings.dense_error),
        (retriever_pb2.DEGRADATION_SPARSE_SKIPPED, findings.bm25_error),
    ]
    skipped = [(step, error) for step, error in legs if error]
    for step, error in skipped:
        event = {
            attributes.STEP: retriever_pb2.Degradation.Name(step),
            RPC_RESPONSE_STATUS_CODE: _code_name(error),
        }
        trace.get_current_span().add_event(attributes.DEGRADED, event)
    return [step for step, _ in skipped]


def _code_name(error: BaseException) -> str:
    """What made a leg drop out. What nobody foresaw goes to the log."""
    if isinstance(error, TriviumError):
        return error.code.name
    if isinstance(error, TimeoutError):
        return grpc.StatusCode.DEADLINE_EXCEEDED.name
    logger.error("a leg of the search failed", exc_info=error)
    return grpc.StatusCode.INTERNAL.name


def _candidate(found: Found, passage: Passage) -> passage_pb2.Candidate:
    scores = passage_pb2.Scores()
    legs: list[tuple[str, Ranked | None]] = [
        ("dense", found.dense),
        ("bm25", found.bm25),
        ("fused", found.fused),
    ]
    for name, ranked in legs:
        if ranked:
            setattr(scores, f"{name}_score", ranked.score)
            setattr(scores, f"{name}_rank", ranked.rank)
    return passage_pb2.Candidate(
        passage=passage_pb2.Passage(
            passage_id=passage.passage_id,
            document_id=passage.document_id,
            title=passage.title,
            heading_path=passage.heading_path,
            text=passage.text,
            uri=passage.uri,
            page=passage.page,
            range=passage_pb2.CharacterRange(start=passage.start, end=passage.end),
            metadata=write_metadata(passage.metadata),
        ),
        scores=scores,
    )


def _standing(standing: Standing) -> retriever_pb2.PassageStanding:
    candidate = _candidate(standing.found, standing.passage)
    return retriever_pb2.PassageStanding(
        passage=candidate.passage,
        scores=candidate.scores,
        limit=standing.limit,
        needed_top_k=standing.needed_top_k,
        is_filtered_out=standing.is_filtered_out,
    )
