"""GPU values on a node that says it has three. They are numbers for the scheduler: no device is behind them.

So the processes are told, by `config.device: cpu`, to compute on the CPU. What they do when they are not is here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.load import questions
from tests.cluster.node import advertise_gpus
from tests.cluster.release import CHART, OVERRIDES, Release, Values, condition, wait_until

MODELS = ("retriever", "reranker", "generator")
SMALL: Values = {"resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
ON_CPU: Values = {
    "workload": SMALL,
    "gateway": {"replicas": 1, **SMALL},
    "indexer": SMALL,
    **{process: {"config": {"device": "cpu"}} for process in MODELS},
}


@pytest.fixture(scope="module")
def three_gpus(release: Release) -> Iterator[Release]:
    advertise_gpus(3)
    release.values = [CHART / "values-gpu.yaml", OVERRIDES]
    release.install(ON_CPU)
    yield release
    advertise_gpus(0)


def only(release: Release, process: str) -> Any:
    """The one pod of a process."""
    (pod,) = release.pods(process)
    return pod


def test_each_model_pod_holds_one_gpu(three_gpus: Release) -> None:
    for process in MODELS:
        (container,) = only(three_gpus, process)["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert three_gpus.ready(process)
    assert "nvidia.com/gpu" not in str(only(three_gpus, "gateway")["spec"])


def test_a_fourth_pod_stays_pending_and_says_why(three_gpus: Release) -> None:
    three_gpus.scale("reranker", 2)

    def pending() -> list[Any]:
        pods = [pod for pod in three_gpus.pods("reranker") if pod["status"]["phase"] == "Pending"]
        return [condition(pod, "PodScheduled") for pod in pods if condition(pod, "PodScheduled")]

    wait_until("a pending pod", pending, 30)
    (scheduled,) = pending()
    print(scheduled["message"])
    assert scheduled["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in scheduled["message"]
    three_gpus.scale("reranker", 1)
    three_gpus.wait_until_ready("reranker", 1)


def test_a_rollout_completes_while_every_gpu_is_taken(three_gpus: Release) -> None:
    old = only(three_gpus, "reranker")["metadata"]["name"]
    with questions(three_gpus, unary_rps=2) as seen:
        seen.wait_for_more(5)
        three_gpus.upgrade({**ON_CPU, "reranker": {"config": {"device": "cpu", "maxQueueEntries": 4000}}})
        three_gpus.wait_until_ready("reranker", 1)
        found_s = wait_until("reranked again", lambda: not seen.all[-1].get("degraded"), 30)
        seen.wait_for_more(10)
    print(seen.line(), f"reranked again {found_s:.0f} s after the new pod was Ready", sep="\n")
    assert only(three_gpus, "reranker")["metadata"]["name"] != old
    assert seen.failed == []
    assert seen.degraded, "the only reranker was never away"
    assert not seen.all[-1]["degraded"]


def test_without_a_gpu_the_pod_says_why_it_refuses(three_gpus: Release) -> None:
    values = ["--reuse-values", "--set", "reranker.config.device=auto"]
    three_gpus.helm("upgrade", "trivium", str(CHART), *values)

    def ended() -> list[Any]:
        pods = three_gpus.get("pods", "-l", "app.kubernetes.io/component=reranker")["items"]
        states = [status.get("lastState", {}) for pod in pods for status in pod["status"].get("containerStatuses", ())]
        return [state["terminated"] for state in states if state.get("terminated", {}).get("exitCode") == 2]

    wait_until("the reranker refused", ended, 90)
    message = ended()[0]["message"]
    print(message)
    assert "refused to start" in message
    assert "exactly one GPU must be visible" in message
    assert "nvidia.com/gpu" in message
    # The container that ended, not the one after it, which may not have written a line yet.
    log = three_gpus.kubectl("logs", only(three_gpus, "reranker")["metadata"]["name"], "--previous", "--tail=5")
    assert "refused to start" in log
