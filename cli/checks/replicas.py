"""Round robin: every replica behind a stage's address answers the gateway's questions, and no other does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any, cast

import grpc

from cli.checks.check import Finding, NotChecked, Status, Trouble
from cli.checks.network import Network, on_each
from cli.checks.places import Endpoint, Place
from cli.connection import Refusal
from trivium.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    generator_pb2,
    generator_pb2_grpc,
    passage_pb2,
    reranker_pb2,
    reranker_pb2_grpc,
    retriever_pb2,
    retriever_pb2_grpc,
)

WORDS = "trivium doctor"
CALLS_PER_REPLICA = 20
"""Most questions for each replica. With other callers about, each goes to a random one: 20 miss one of a hundred
replicas once in 5 million."""
ASKING_S = 20.0
"""Longest time for them."""
LIKELY = 0.01
"""From this chance on, a replica may have been missed by accident, and nothing is proved."""
NOTHING_PUBLISHED = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


def examine_replicas(place: Place, gateway: Place, collection: str, network: Network) -> Iterator[Finding]:
    """Ask each address for its replica's name, then the gateway until all of these have answered."""
    endpoints = network.endpoints(place)
    names = on_each(lambda endpoint: name_of(place.process, endpoint, collection, network), endpoints)
    answered = _ask(place.process, gateway, set(names), collection, network)
    shares = ", ".join(f"{name} {answered[name]}" for name in sorted(answered)) or "none"
    silent = {name: one.address for name, one in zip(names, endpoints, strict=True) if name not in answered}
    if silent:
        missing = ", ".join(f"{name} at {silent[name]}" for name in sorted(silent))
        is_proved = not answered or chance_of_a_miss(len(names), answered.total()) < LIKELY
        yield _silence(place, f"{missing} (calls answered by: {shares})", is_proved)
        return
    strangers = sorted(set(answered) - set(names))
    if strangers:
        yield Finding(
            Status.WARNING,
            f"the gateway is also answered by {', '.join(strangers)}, not behind {place.target}",
            "A replica that left a moment ago, or a load balancer before several: then only connections are "
            "balanced, not calls. Name a headless Service with dns:///.",
        )
    yield Finding(Status.OK, f"{len(names)} of {len(names)} answered the gateway's calls: {shares}")


def _silence(place: Place, missing: str, is_proved: bool) -> Finding:
    if not is_proved:
        advice = f"Too few calls within {ASKING_S:g} s to tell: ask again when the system is quieter."
        return Finding(Status.WARNING, f"not yet called by the gateway: {missing}", advice)
    return Finding(
        Status.FAILED,
        f"never called by the gateway: {missing}",
        f"It serves when called directly. Does the gateway's address of the {place.process} lead to all of "
        f"{place.target} (dns:/// and a headless Service)? A replica that is new is found once the gateway looks "
        f"names up again, at the latest after {place.process.upper()}_MAX_CONNECTION_AGE_S.",
    )


def chance_of_a_miss(num_replicas: int, num_calls: int) -> float:
    """At most so likely is it that calls which go to random replicas leave one out."""
    return num_replicas * (1 - 1 / num_replicas) ** num_calls


def name_of(process: str, endpoint: Endpoint, collection: str, network: Network) -> str:
    """The replica at this address, as it calls itself. Raises Trouble, NotChecked when nothing is published."""
    with network.channel(endpoint) as channel:
        try:
            return _stats(process, channel, collection, network.timeout_s).replica
        except grpc.RpcError as error:
            if error.code() in NOTHING_PUBLISHED:
                raise NotChecked("the retriever has nothing published to be asked about") from None
            raise Trouble(
                f"{endpoint.address} is SERVING and fails a call: {Refusal.of(error).line}",
                f"The log of this {process} has the details under the trace id.",
            ) from None


def _stats(process: str, channel: grpc.Channel, collection: str, timeout_s: float) -> passage_pb2.StageStats:
    """What the smallest call there is cost."""
    if process == "retriever":
        search = retriever_pb2.RetrieveRequest(
            question=WORDS, collection=collection, mode=retriever_pb2.RETRIEVAL_MODE_SPARSE, top_k=1
        )
        return retriever_pb2_grpc.RetrieverServiceStub(channel).Retrieve(search, timeout=timeout_s).stats
    if process == "reranker":
        candidate = reranker_pb2.RerankCandidate(passage_id="0", text=WORDS)
        judged = reranker_pb2.RerankRequest(question=WORDS, candidates=[candidate])
        return reranker_pb2_grpc.RerankerServiceStub(channel).Rerank(judged, timeout=timeout_s).stats
    written = generator_pb2.GenerateRequest(
        question=WORDS,
        passages=[passage_pb2.Passage(passage_id="0", text=WORDS)],
        sampling=generator_pb2.Sampling(max_output_tokens=1),
    )
    *_, last = generator_pb2_grpc.GeneratorServiceStub(channel).Generate(written, timeout=timeout_s)
    return last.finished.stats


def _ask(process: str, gateway: Place, expected: set[str], collection: str, network: Network) -> Counter[str]:
    """How many of the gateway's questions each replica of a stage answered: twice round, or until all have."""
    answered: Counter[str] = Counter()
    give_up_at = time.monotonic() + ASKING_S
    endpoint = network.endpoints(gateway)[0]
    with network.channel(endpoint) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for number in count(1):
            report = _report(process, stub, collection, network)
            answered.update(stage.replica for stage in report.stages if stage.stage == process)
            is_round = number >= 2 * len(expected) and expected <= set(answered)
            if is_round or number >= CALLS_PER_REPLICA * len(expected) or time.monotonic() > give_up_at:
                return answered
    raise AssertionError("unreachable")


def _report(process: str, stub: Any, collection: str, network: Network) -> gateway_pb2.Report:
    options = gateway_pb2.SearchOptions(collection=collection, top_k=1, num_candidates=1)
    reply: Any
    try:
        if process != "generator":
            reply = stub.Search(gateway_pb2.SearchRequest(question=WORDS, search=options), timeout=network.timeout_s)
            return cast("gateway_pb2.Report", reply.report)
        request = gateway_pb2.AnswerRequest(
            question=WORDS, search=options, sampling=generator_pb2.Sampling(max_output_tokens=1)
        )
        reply = stub.Answer(request, timeout=network.timeout_s)
    except grpc.RpcError as error:
        if error.code() in NOTHING_PUBLISHED:
            raise NotChecked("the gateway has nothing published to be asked about") from None
        text = f"the gateway fails a question: {Refusal.of(error).line}"
        raise Trouble(text, "Look the trace up; `trivium doctor --question …` says more.") from None
    if reply.reason == generator_pb2.FINISH_REASON_ABSTAINED:
        raise NotChecked("the gateway abstains from the questions asked here, so no generator is called")
    return cast("gateway_pb2.Report", reply.report)
