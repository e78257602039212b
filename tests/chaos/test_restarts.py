"""Replicas come and go; questions are answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from cli.processes import Process
from tests.installation import Installation
from tests.waiting import wait_until
from trivium.v1 import gateway_pb2, generator_pb2, retriever_pb2

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

QUESTION = "What happens when the reranker is down?"


def ask(pairs: Installation, max_output_tokens: int = 4, timeout: float = 20) -> gateway_pb2.AnswerResponse:
    request = gateway_pb2.AnswerRequest(
        question=QUESTION,
        search=gateway_pb2.SearchOptions(top_k=1, num_candidates=3),
        sampling=generator_pb2.Sampling(max_output_tokens=max_output_tokens),
    )
    reply: gateway_pb2.AnswerResponse = pairs.stub("gateway").Answer(request, timeout=timeout)
    return reply


@dataclass
class Load:
    """Questions asked one after the other by a few callers, and what became of them."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    replicas: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)

    def wait_for_more(self, answers: int) -> None:
        """Until so many more questions have been answered."""
        enough = self.answered + answers
        wait_until(lambda: self.answered >= enough)


@contextmanager
def load(pairs: Installation, callers: int = 3) -> Iterator[Load]:
    """Load from beginning to end of the block."""
    seen, stop, lock = Load(), threading.Event(), threading.Lock()

    def call() -> None:
        while not stop.is_set():
            try:
                reply = ask(pairs)
            except grpc.RpcError as error:
                with lock:
                    seen.failed.append(str(error))
                continue
            with lock:
                seen.answered += 1
                seen.replicas.update(stage.replica for stage in reply.report.stages)
                seen.degraded.update(map(retriever_pb2.Degradation.Name, reply.report.degraded))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def restart(pairs: Installation, *replicas: Process) -> None:
    for replica in replicas:
        replica.start()
    pairs.processes.wait_until_serving()


def test_stopping_one_of_two_replicas_of_each_stage_fails_no_question(pairs: Installation) -> None:
    ask(pairs)
    with load(pairs) as seen:
        for stage in ("retriever", "reranker", "generator"):
            seen.wait_for_more(20)
            replica = pairs.processes.named(stage)[1]
            replica.terminate()
            assert replica.wait(30) == 0
            seen.wait_for_more(50)
            restart(pairs, replica)
        wait_until(lambda: seen.answered >= 320, timeout_s=240)
    assert seen.failed == []
    assert seen.answered >= 300
    assert not seen.degraded
    assert len(seen.replicas) == 6, "not every replica was asked"


def test_a_killed_reranker_is_left_out_and_named(pairs: Installation) -> None:
    rerankers = pairs.processes.named("reranker")
    try:
        with load(pairs, callers=2) as seen:
            seen.wait_for_more(5)
            for replica in rerankers:
                replica.kill()
            seen.wait_for_more(20)
        assert seen.failed == []
        assert seen.degraded["DEGRADATION_RERANK_SKIPPED"] >= 15
        check_the_surviving_side(pairs, ask(pairs).report.trace_id)
    finally:
        restart(pairs, *rerankers)
    wait_until(lambda: not ask(pairs).report.degraded)


def check_the_surviving_side(pairs: Installation, trace_id: str) -> None:
    """The gateway ends the span of each call that nobody answered, and says on its root what it left out."""
    assert pairs.receiver is not None
    spans = pairs.receiver.wait_for(lambda spans: any(not span.parent_span_id for span in spans), trace_id)
    calls = [span for span in spans if span.name == "trivium.v1.RerankerService/Rerank"]
    assert 1 <= len(calls) <= 2, "the call, and its one repetition"
    for call in calls:
        assert (call.service, call.kind, call.status) == ("gateway", "CLIENT", "ERROR")
        assert call.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    (root,) = [span for span in spans if not span.parent_span_id]
    assert [event.attributes["trivium.step"] for event in root.events if event.name == "trivium.degraded"] == [
        "DEGRADATION_RERANK_SKIPPED"
    ]


def test_a_generator_killed_in_mid_stream_does_not_cost_the_answer(pairs: Installation) -> None:
    """`Answer` begins again on the other replica."""
    generators = pairs.processes.named("generator")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, pairs, max_output_tokens=2_000, timeout=60)
        victim = _generating(generators)
        victim.kill()
        try:
            reply = answer.result()
        finally:
            restart(pairs, victim)
    (survivor,) = [process for process in generators if process is not victim]
    assert reply.text
    assert not reply.report.degraded
    assert reply.report.stages[-1].replica.endswith(survivor.address.rpartition(":")[2])


def test_a_stream_that_lost_its_generator_ends_with_an_error_and_not_with_silence(pairs: Installation) -> None:
    request = gateway_pb2.AnswerStreamRequest(
        question=QUESTION,
        search=gateway_pb2.SearchOptions(top_k=1, num_candidates=3),
        sampling=generator_pb2.Sampling(max_output_tokens=4_000),
    )
    events = pairs.stub("gateway").AnswerStream(request, timeout=60)
    kinds = Counter(next(events).WhichOneof("event") for _ in range(3))
    assert kinds["delta"] == 2
    victim = _generating(pairs.processes.named("generator"))
    victim.kill()
    try:
        with pytest.raises(grpc.RpcError) as raised:
            kinds.update(event.WhichOneof("event") for event in events)
    finally:
        restart(pairs, victim)
    error: grpc.Call = raised.value  # type: ignore[assignment]
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert kinds["sources"] == 1
    assert kinds["finished"] == 0


def _generating(generators: list[Process], timeout_s: float = 20) -> Process:
    """The one of them that is at work, read from the CPU time it takes."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        before = {process: _cpu_ticks(process) for process in generators}
        time.sleep(0.2)
        burnt = {process: _cpu_ticks(process) - before[process] for process in generators}
        busiest = max(generators, key=lambda process: burnt[process])
        if burnt[busiest] >= 8:
            return busiest
    raise AssertionError("nobody is generating: nothing to interrupt")


def _cpu_ticks(process: Process) -> int:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
