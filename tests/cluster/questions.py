"""Questions at a steady rate, one line of JSON per answer: `python -m tests.cluster.questions ADDRESS …`.

Runs in the cluster's network, as a process of its own, until SIGTERM; then it waits for what is still unanswered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from trivium.v1 import gateway_pb2, gateway_pb2_grpc, retriever_pb2

QUESTION = "What happens when the reranker is down?"
TIMEOUT_S = 60
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "trivium.v1.GatewayService", "method": "Answer"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
"""What docs/kubernetes.md tells callers: an answer reads only, so a gateway that went away is asked again."""


def search(candidates: int) -> gateway_pb2.SearchOptions:
    """Few candidates: two cores carry several such questions a second."""
    return gateway_pb2.SearchOptions(num_candidates=candidates, top_k=1)


async def answer(stub: Any, candidates: int) -> dict[str, Any]:
    """The report of a unary answer."""
    request = gateway_pb2.AnswerRequest(question=QUESTION, search=search(candidates))
    reply = await stub.Answer(request, timeout=TIMEOUT_S)
    return _report(reply.report) | {"text": bool(reply.text)}


async def answer_stream(stub: Any, candidates: int) -> dict[str, Any]:
    """The report of a stream, and whether it came to its end."""
    request = gateway_pb2.AnswerStreamRequest(question=QUESTION, search=search(candidates))
    events = [event async for event in stub.AnswerStream(request, timeout=TIMEOUT_S)]
    kinds = [event.WhichOneof("event") for event in events]
    whole = kinds[:1] == ["sources"] and kinds[-1:] == ["finished"] and kinds.count("finished") == 1
    return _report(events[-1].finished.report) | {"text": "delta" in kinds, "whole": whole}


def _report(report: gateway_pb2.Report) -> dict[str, Any]:
    return {
        "replicas": {stage.stage: stage.replica.split(":")[0] for stage in report.stages},
        "degraded": [retriever_pb2.Degradation.Name(one) for one in report.degraded],
        "index_version": report.index_version,
    }


async def _ask(kind: str, call: Callable[[Any, int], Awaitable[dict[str, Any]]], stub: Any, candidates: int) -> None:
    began = time.time()
    outcome: dict[str, Any] = {"kind": kind, "status": "OK"}
    try:
        outcome |= await call(stub, candidates)
    except grpc.aio.AioRpcError as error:
        outcome |= {"status": error.code().name, "details": error.details()}
    ended = time.time()
    outcome |= {"at": began, "until": ended, "ms": round((ended - began) * 1e3, 1)}
    print(json.dumps(outcome), flush=True)


async def main(address: str, unary_rps: float, stream_rps: float, candidates: int) -> None:
    """An open loop: a question is due when it is due, whatever became of those before."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = [("grpc.service_config", json.dumps(SERVICE_CONFIG)), ("grpc.max_reconnect_backoff_ms", 1_000)]
    async with grpc.aio.insecure_channel(address, options=options) as channel, asyncio.TaskGroup() as tasks:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)  # type: ignore[no-untyped-call,unused-ignore]

        async def keep_asking(kind: str, rps: float, call: Callable[[Any, int], Awaitable[dict[str, Any]]]) -> None:
            due = time.monotonic()
            while rps and not stop.is_set():
                tasks.create_task(_ask(kind, call, stub, candidates))
                due += 1 / rps
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        tasks.create_task(keep_asking("unary", unary_rps, answer))
        tasks.create_task(keep_asking("stream", stream_rps, answer_stream))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--unary-rps", type=float, default=0)
    parser.add_argument("--stream-rps", type=float, default=0)
    parser.add_argument("--candidates", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(main(options.address, options.unary_rps, options.stream_rps, options.candidates))
