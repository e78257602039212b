"""The reranker over a real server on a free port."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from chassis import checkpoint, config
from chassis.config import ConfigError
from chassis.device import Device
from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from chassis.runtime import Runtime
from services.reranker.config import RerankerConfig
from services.reranker.service import RerankerService
from tests.unit import seeded_rerankers as seeded
from trivium.v1 import reranker_pb2, reranker_pb2_grpc

QUESTION = "how long does the drain wait?"
TEXTS = {
    "load": "the drain of a replica waits for load balancers",
    "deadline": "deadline passed on to each stage",
    "flip": "index version published by one atomic flip",
}
STATUS_DETAILS = "grpc-status-details-bin"

if TYPE_CHECKING:  # in the stubs' stubs only
    Stub = reranker_pb2_grpc.RerankerServiceAsyncStub


@contextlib.asynccontextmanager
async def served(settings: RerankerConfig) -> AsyncIterator[Stub]:
    """A stub for a ready reranker, which is stopped afterwards."""
    metrics = Metrics()
    runtime = Runtime("reranker", "here:1", settings, metrics, Device("cpu"))
    service = RerankerService(settings, runtime)
    interceptor = ServerInterceptor(metrics, settings.default_deadline_s, settings.max_deadline_s)
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    service.register(server)
    try:
        await service.start()
        interceptor.ready = True
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield reranker_pb2_grpc.RerankerServiceStub(channel)
    finally:
        await server.stop(0)
        await service.stop()
        runtime.close()


@pytest.fixture
def settings(tmp_path: Path) -> RerankerConfig:
    model = seeded.save_bert_cross_encoder(tmp_path / "model")
    return RerankerConfig(engine="cross-encoder", model=str(model), max_candidates=200)


@pytest.fixture
async def stub(settings: RerankerConfig) -> AsyncIterator[Stub]:
    async with served(settings) as stub:
        yield stub


def request_of(texts: dict[str, str], question: str = QUESTION) -> reranker_pb2.RerankRequest:
    candidates = [reranker_pb2.RerankCandidate(passage_id=passage_id, text=text) for passage_id, text in texts.items()]
    return reranker_pb2.RerankRequest(question=question, candidates=candidates)


async def violations(stub: Stub, request: reranker_pb2.RerankRequest) -> list[str]:
    """The fields that the server finds fault with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Rerank(request)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    metadata = dict(raised.value.trailing_metadata() or ())
    (detail,) = status_pb2.Status.FromString(metadata[STATUS_DETAILS]).details
    bad_request = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)
    return [violation.field for violation in bad_request.field_violations]


async def test_every_candidate_gets_one_score_best_first(stub: Stub) -> None:
    response = await stub.Rerank(request_of(TEXTS))
    assert sorted(score.passage_id for score in response.scores) == sorted(TEXTS)
    logits = [score.logit for score in response.scores]
    assert logits == sorted(logits, reverse=True)
    assert len(set(logits)) == 3


async def test_the_order_of_candidates_means_nothing(stub: Stub) -> None:
    forwards = await stub.Rerank(request_of(TEXTS))
    backwards = await stub.Rerank(request_of(dict(reversed(TEXTS.items()))))
    assert [one.passage_id for one in forwards.scores] == [one.passage_id for one in backwards.scores]


async def test_equal_logits_are_ordered_by_passage_id(settings: RerankerConfig) -> None:
    one_a_batch = replace(settings, max_batch_tokens=1)
    async with served(one_a_batch) as stub:
        response = await stub.Rerank(request_of(dict.fromkeys(["c", "a", "b"], TEXTS["load"])))
    assert len({score.logit for score in response.scores}) == 1
    assert [score.passage_id for score in response.scores] == ["a", "b", "c"]


async def test_title_and_headings_are_read_with_the_text(stub: Stub) -> None:
    request = request_of({"plain": TEXTS["flip"], "headed": TEXTS["flip"]})
    request.candidates[1].title = "load balancers"
    request.candidates[1].heading_path.append("drain")
    plain, headed = await stub.Rerank(request), await stub.Rerank(request_of({"plain": TEXTS["flip"]}))
    assert len({round(score.logit, 4) for score in plain.scores}) == 2
    assert headed.stats.tokens < plain.stats.tokens / 2


async def test_more_candidates_than_a_batch_holds_are_split(settings: RerankerConfig) -> None:
    texts = {f"{number:03}": f"{TEXTS['load']} {number}" for number in range(200)}
    async with served(replace(settings, max_batch_tokens=16_384)) as stub:
        at_once = await stub.Rerank(request_of(texts))
    async with served(replace(settings, max_batch_tokens=256)) as stub:
        split = await stub.Rerank(request_of(texts))
    assert at_once.stats.batch_size == 200
    assert 1 <= split.stats.batch_size < 40
    logit_by_id = {score.passage_id: score.logit for score in at_once.scores}
    assert {score.passage_id: score.logit for score in split.scores} == pytest.approx(logit_by_id, abs=1e-5)


async def test_stats_say_what_was_spent_and_by_which_weights(stub: Stub, settings: RerankerConfig) -> None:
    response = await stub.Rerank(request_of({"short": "deadline passed", "long": "question " * 100}))
    stats = response.stats
    assert (stats.stage, stats.replica, stats.batch_size) == ("reranker", "here:1", 2)
    assert (stats.model, stats.revision) == (settings.model, checkpoint.find(settings.model).revision)
    assert stats.compute_ms > 0
    truncated_by_id = {score.passage_id: score.truncated_tokens for score in response.scores}
    assert truncated_by_id["short"] == 0
    assert stats.truncated_tokens == truncated_by_id["long"] > 0
    num_question_tokens = len(["how", "long", "does", "the", "drain", "wait", "?"])
    assert stats.tokens == 64 + num_question_tokens + len(["deadline", "passed"]) + 3
    assert stats.padding_ratio == 0, "padding is not computed on a CPU"


async def test_every_score_says_how_far_its_passage_was_read(stub: Stub) -> None:
    long = "question " * 100
    request = request_of({"whole": TEXTS["load"], "cut": long, "headed": long})
    request.candidates[2].title = "deadline passed"
    read = {score.passage_id: score for score in (await stub.Rerank(request)).scores}
    num_question_tokens = len(["how", "long", "does", "the", "drain", "wait", "?"])
    room = 64 - num_question_tokens - 3
    assert read["whole"].text_characters == len(TEXTS["load"])
    assert read["whole"].passage_tokens == len(TEXTS["load"].split())
    assert (read["cut"].passage_tokens, read["cut"].truncated_tokens) == (room, 100 - room)
    assert read["cut"].text_characters == room * len("question ") - 1
    assert (read["headed"].passage_tokens, read["headed"].truncated_tokens) == (room, 102 - room)
    assert read["headed"].text_characters == (room - 2) * len("question ") - 1


async def test_a_text_behind_headings_that_fill_the_model_is_not_read(stub: Stub) -> None:
    request = request_of({"a": TEXTS["flip"]})
    request.candidates[0].title = "deadline " * 100
    (score,) = (await stub.Rerank(request)).scores
    assert score.HasField("text_characters")
    assert score.text_characters == 0


async def test_without_a_calibration_nobody_abstains(stub: Stub) -> None:
    response = await stub.Rerank(request_of(TEXTS))
    assert not response.HasField("abstention_threshold")
    assert not any(score.HasField("probability") for score in response.scores)


async def test_a_calibration_gives_probabilities_and_a_threshold(settings: RerankerConfig, tmp_path: Path) -> None:
    calibrated = calibrate(settings, tmp_path, engine="cross-encoder")
    async with served(calibrated) as stub:
        response = await stub.Rerank(request_of(TEXTS))
    assert response.abstention_threshold == 0.25
    probabilities = [score.probability for score in response.scores]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < min(probabilities) < max(probabilities) < 1


async def test_a_calibration_of_another_engine_is_a_refusal_to_start(settings: RerankerConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made for late-interaction"):
        async with served(calibrate(settings, tmp_path, engine="late-interaction")):
            pass


async def test_a_model_of_another_kind_is_a_refusal_to_start(settings: RerankerConfig) -> None:
    with pytest.raises(ConfigError, match="lack classifier"):
        async with served(replace(settings, model="embedded")):
            pass


async def test_the_embedded_model_serves_by_late_interaction() -> None:
    async with served(RerankerConfig()) as stub:
        response = await stub.Rerank(request_of({"yes": TEXTS["load"], "no": "bananas are yellow"}))
    assert [score.passage_id for score in response.scores] == ["yes", "no"]
    assert response.stats.revision == "53aa51172d14"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(request_of(TEXTS, question=""), "question", id="no-question"),
        pytest.param(request_of(TEXTS, question=" \n"), "question", id="blank-question"),
        pytest.param(request_of(TEXTS, question="a" * 8_193), "question", id="long-question"),
        pytest.param(request_of(TEXTS, question="a " * 46), "question", id="no-room-for-a-passage"),
        pytest.param(request_of({}), "candidates", id="no-candidates"),
        pytest.param(request_of({str(n): "a" for n in range(201)}), "candidates", id="too-many"),
        pytest.param(request_of({"a": "a", "": "a"}), "candidates[1].passage_id", id="no-id"),
        pytest.param(request_of({"a" * 513: "a"}), "candidates[0].passage_id", id="long-id"),
        pytest.param(request_of({"a": "a", "b": ""}), "candidates[1].text", id="no-text"),
        pytest.param(
            reranker_pb2.RerankRequest(
                question=QUESTION,
                candidates=[reranker_pb2.RerankCandidate(passage_id="a", text=text) for text in "ab"],
            ),
            "candidates[1].passage_id",
            id="twice-the-same-id",
        ),
    ],
)
async def test_a_bad_request_is_refused_by_field_and_harms_nobody(
    stub: Stub, request_: reranker_pb2.RerankRequest, field: str
) -> None:
    assert await violations(stub, request_) == [field]
    assert len((await stub.Rerank(request_of(TEXTS))).scores) == len(TEXTS)


async def test_the_longest_question_with_room_is_served(stub: Stub) -> None:
    assert len((await stub.Rerank(request_of(TEXTS, question="a " * 45))).scores) == len(TEXTS)


def test_every_setting_is_a_variable() -> None:
    environment = {"RERANKER_ENGINE": "cross-encoder", "RERANKER_CALIBRATION": "a/file.json"}
    loaded = config.load(RerankerConfig, "RERANKER", environment)
    assert (loaded.engine, loaded.calibration) == ("cross-encoder", "a/file.json")
    assert loaded.listen_address.endswith(":7003")
    with pytest.raises(ConfigError, match="RERANKER_ENGINE"):
        config.load(RerankerConfig, "RERANKER", {"RERANKER_ENGINE": "colbert"})


def calibrate(settings: RerankerConfig, path: Path, engine: str) -> RerankerConfig:
    fields = {
        "engine": engine,
        "model_sha256": checkpoint.find(settings.model).sha256,
        "slope": 0.5,
        "intercept": 0.1,
        "abstention_threshold": 0.25,
        "made_with": "a test",
    }
    (path / "calibration.json").write_text(json.dumps(fields))
    return replace(settings, calibration=str(path / "calibration.json"))
