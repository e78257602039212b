"""Two replicas of each stage: settings change, pods die and are evicted, and every question is answered."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.cluster.load import questions
from tests.cluster.release import Release, Values, wait_until

pytestmark = pytest.mark.steady

STAGES = ("gateway", "retriever", "reranker", "generator")
PAIRS: Values = {"workload": {"replicas": 2}}


@pytest.fixture(scope="module")
def pairs(release: Release) -> Release:
    release.install(PAIRS)
    return release


def setting(pairs: Release, process: str) -> str:
    """A setting as the process's pods have it."""
    data = pairs.get("configmap", f"trivium-{process}")["data"]
    return str(data[f"{process.upper()}_MAX_CONCURRENT_CALLS"])


def uids(pairs: Release, process: str) -> set[str]:
    """Which pods a process has."""
    return {pod["metadata"]["uid"] for pod in pairs.pods(process)}


def test_every_service_is_upgraded_in_turn_and_rolled_back_without_a_failure(pairs: Release) -> None:
    values: Values = {**PAIRS}
    with questions(pairs, unary_rps=2.5, stream_rps=0.3, candidates=2) as seen:
        seen.wait_for_more(10)
        for process in (*STAGES, "indexer"):
            before, began = uids(pairs, process), time.monotonic()
            values[process] = {"config": {"maxConcurrentCalls": 1024}}
            pairs.upgrade(values)
            print(f"{process} upgraded in {time.monotonic() - began:.0f} s, {len(seen.all)} answers so far")
            assert not before & uids(pairs, process)
            assert setting(pairs, process) == "1024"
        before, began = {one for process in STAGES for one in uids(pairs, process)}, time.monotonic()
        pairs.helm("rollback", "trivium", "1", "--wait", "--timeout", "6m")
        print(f"rolled back in {time.monotonic() - began:.0f} s")
        assert not before & {one for process in STAGES for one in uids(pairs, process)}
        assert {setting(pairs, process) for process in STAGES} == {"2048"}
    # What two cores carry beside eight processes that start is less than they carry afterwards.
    with questions(pairs, unary_rps=6, stream_rps=0.7, candidates=2) as after:
        wait_until("900 unary answers", lambda: len(seen.of("unary") + after.of("unary")) >= 900, timeout_s=400)
    print(seen.line(), after.line(), sep="\n")
    assert seen.failed + after.failed == []
    streams = seen.of("stream") + after.of("stream")
    assert len(streams) >= 90
    assert all(one["whole"] for one in streams)


@pytest.mark.parametrize("process", STAGES)
def test_a_pod_deleted_with_force_costs_no_answer(pairs: Release, process: str) -> None:
    pairs.wait_until_ready(process, 2)
    with questions(pairs, unary_rps=3) as seen:
        seen.wait_for_more(20)
        victim = sorted(pairs.ready(process))[0]
        if process != "gateway":
            assert victim in seen.shares(process, 0, time.time()), "the pod to be killed was idle"
        pairs.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
        killed_at = time.time()
        seen.wait_for_more(40)
    print(seen.line())
    assert seen.failed == []
    if process != "gateway":
        assert victim not in seen.shares(process, killed_at + 5, time.time())


def evict(pairs: Release, pod: str) -> None:
    """What `kubectl drain` does to each pod. Raises AssertionError when it is refused."""
    eviction: Any = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    eviction["metadata"]["namespace"] = pairs.namespace
    path = f"/api/v1/namespaces/{pairs.namespace}/pods/{pod}/eviction"
    pairs.kubectl("create", "--raw", path, "-f", "-", data=eviction)


def test_eviction_takes_one_pod_at_a_time(pairs: Release) -> None:
    pairs.wait_until_ready("reranker", 2)
    first, second = sorted(pairs.ready("reranker"))
    with questions(pairs, unary_rps=3) as seen:
        seen.wait_for_more(10)
        evict(pairs, first)
        with pytest.raises(AssertionError, match="disruption budget"):
            evict(pairs, second)
        pairs.wait_until_ready("reranker", 2)
        evict(pairs, second)
        pairs.wait_until_ready("reranker", 2)
        seen.wait_for_more(10)
    print(seen.line())
    assert seen.failed == []
    assert not {first, second} & pairs.ready("reranker").keys()
