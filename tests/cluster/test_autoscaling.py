"""KEDA and the real HorizontalPodAutoscaler: rerankers come with load, stay while it is steady, and go with it."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster import keda
from tests.cluster.load import ghz
from tests.cluster.release import Release, Values, kubectl, wait_until

pytestmark = pytest.mark.steady

OFFERED_S = 45
"""The signal looks back over 15 s, and the first of them are of a machine that has just installed something."""

STEADY_S = 300

STABILISATION_S = 30
"""Less than production's five minutes, which would be waited for."""

SETTLING_S = 2 * STABILISATION_S
"""New replicas start, which costs CPU and raises the signal; those that were too many go again, once that is over."""

RPS = 3


def scaled(target: float) -> Values:
    """One to three rerankers, each carrying so much."""
    return {
        "reranker": {
            "autoscaling": {
                "enabled": True,
                "maxReplicas": 3,
                "targetSaturation": target,
                "scaleUpStabilizationSeconds": 0,
                "scaleDownStabilizationSeconds": STABILISATION_S,
            }
        }
    }


@pytest.fixture
def scalable(installed: Release) -> Iterator[Release]:
    keda.deploy()
    yield installed
    installed.upgrade()


def replicas(scalable: Release) -> int:
    """How many rerankers are wanted."""
    return int(scalable.get("deployment", "trivium-reranker")["spec"]["replicas"])


def saturation(scalable: Release) -> float:
    """Summed over the rerankers, as KEDA sees it."""
    total = 0.0
    for pod in scalable.ready("reranker"):
        path = f"/api/v1/namespaces/{scalable.namespace}/pods/{pod}:7103/proxy/metrics"
        for family in text_string_to_metric_families(kubectl("get", "--raw", path)):
            total += sum(sample.value for sample in family.samples if sample.name == "trivium_saturation")
    return total


def readings(scalable: Release, seconds: float) -> tuple[list[int], list[float]]:
    """How many replicas were wanted, and the signal, every few seconds."""
    wanted, signal = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        wanted.append(replicas(scalable))
        signal.append(round(saturation(scalable), 3))
        time.sleep(3)
    return wanted, signal


def test_rerankers_follow_the_load_and_do_not_flap(scalable: Release) -> None:
    with ghz(scalable, RPS) as counted:
        offered = statistics.median(readings(scalable, OFFERED_S)[1])
        target = round(offered / 1.5, 3)  # two replicas' part, until a third more or a third less is offered
        scalable.upgrade(scaled(target))
        up_s = wait_until("more rerankers", lambda: replicas(scalable) > 1)
        time.sleep(SETTLING_S)
        wanted, signal = readings(scalable, STEADY_S)
    print(counted.line())
    print(f"offered {offered:.3f} with one replica, target {target}; up in {up_s:.0f} s")
    print(f"then {min(signal)} to {max(signal)}; replicas: {dict(Counter(wanted))} readings in {STEADY_S} s")
    assert counted.statuses == {"OK": counted.count}
    assert wanted[-1] > 1
    assert wanted == sorted(wanted, reverse=True), "flapping: one too many may yet go, and none comes again"
    down_s = wait_until("one reranker again", lambda: replicas(scalable) == 1, 420)
    print(f"down in {down_s:.0f} s")
    events = scalable.kubectl("events", "--for=horizontalpodautoscaler/keda-hpa-trivium-reranker")
    print(events)
    assert "New size: 1" in events
