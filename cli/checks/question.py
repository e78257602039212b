"""A question, asked as a caller asks it, and all that its answer must carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import grpc

from cli.answer import cited_sources
from cli.checks.check import Finding, Status
from cli.checks.index import refused
from cli.checks.network import Network
from cli.checks.places import Place
from cli.system import STAGES
from trivium.v1 import gateway_pb2, gateway_pb2_grpc, generator_pb2, retriever_pb2

TRACE_ID = re.compile(r"[0-9a-f]{32}")


def examine_question(
    gateway: Place, question: str, expected_source: str, collection: str, timeout_s: float, network: Network
) -> Iterator[Finding]:
    """The answer's text, what it cites, its trace, its stages."""
    answer, trace_id = _ask(gateway, question, collection, timeout_s, network)
    yield _text(answer)
    yield _citation(answer, expected_source)
    yield _trace(answer.report.trace_id, trace_id)
    yield _stages(answer)


def _ask(
    gateway: Place, question: str, collection: str, timeout_s: float, network: Network
) -> tuple[gateway_pb2.AnswerResponse, str]:
    """The answer, and the trace id of its trailing metadata."""
    search = gateway_pb2.SearchOptions(collection=collection)
    with network.channel(network.endpoints(gateway)[0]) as channel:
        stub: Any = gateway_pb2_grpc.GatewayServiceStub(channel)
        try:
            request = gateway_pb2.AnswerRequest(question=question, search=search)
            answer, call = stub.Answer.with_call(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise refused("no answer", error) from None
    return answer, str(dict(call.trailing_metadata() or ()).get("trace_id", ""))


def _text(answer: gateway_pb2.AnswerResponse) -> Finding:
    took = f"{answer.report.elapsed_ms:,.0f} ms"
    if answer.reason == generator_pb2.FINISH_REASON_ABSTAINED:
        return Finding(Status.OK, f"abstained after {took}: the collection holds too little evidence")
    if not answer.text.strip():
        reason = generator_pb2.FinishReason.Name(answer.reason).removeprefix("FINISH_REASON_")
        return Finding(Status.FAILED, f"the answer is empty ({reason})", "Look at the generator's log.")
    return Finding(Status.OK, f"answered in {took} with {len(answer.text.split())} words")


def _citation(answer: gateway_pb2.AnswerResponse, expected: str) -> Finding:
    """An extractive answer must cite; one that was generated, or abstained, must have sources."""
    cited = cited_sources(answer)
    sources = cited or ([] if answer.kind == generator_pb2.ANSWER_KIND_EXTRACTIVE else list(answer.sources))
    verb = "cites" if cited else "rests on"
    documents = list(dict.fromkeys(source.passage.uri or source.passage.document_id for source in sources))
    if not documents:
        advice = "Is the collection the right one, and does it hold documents? `trivium search` shows what is found."
        return Finding(Status.FAILED, "no passage is cited", advice)
    if expected and not any(expected in f"{one.passage.uri}\n{one.passage.document_id}" for one in sources):
        text = f"{expected!r} is not cited, but {', '.join(documents)}"
        return Finding(Status.FAILED, text, "Is that document ingested and published? Is the question about it?")
    return Finding(Status.OK, f"{verb} {', '.join(documents)}")


def _trace(reported: str, trailing: str) -> Finding:
    if not TRACE_ID.fullmatch(trailing):
        advice = "Something between us and the gateway drops trailing metadata: a proxy that does not speak gRPC?"
        return Finding(Status.FAILED, f"the trailing metadata's trace id is {trailing!r}", advice)
    if reported != trailing:
        text = f"the answer reports trace {reported!r}, its trailing metadata {trailing}"
        return Finding(Status.FAILED, text, "A gateway of another version? Compare the images.")
    return Finding(Status.OK, f"trace {trailing}")


def _stages(answer: gateway_pb2.AnswerResponse) -> Finding:
    left_out = [retriever_pb2.Degradation.Name(step) for step in answer.report.degraded]
    if left_out:
        return Finding(
            Status.FAILED,
            f"degraded: {', '.join(left_out)}",
            "A stage is down or late: see the addresses above, and `trivium_queue_refused_total` of that stage.",
        )
    reported = {stage.stage: stage.replica for stage in answer.report.stages}
    abstained = answer.reason == generator_pb2.FINISH_REASON_ABSTAINED
    missing = [stage for stage in STAGES if stage not in reported and not (abstained and stage != "retriever")]
    if missing:
        text = f"no word from the {' and the '.join(missing)}"
        return Finding(Status.FAILED, text, "Its reply carried no stats: is it of the same version as the gateway?")
    return Finding(Status.OK, " → ".join(f"{stage} {replica}" for stage, replica in reported.items()))
