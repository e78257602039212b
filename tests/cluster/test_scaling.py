"""Each stage scaled alone under a steady load: nothing fails, and a new replica is at work within seconds.

While a new pod imports torch, two cores are short: then an answer may come without reranking, and says so. The figures
that are printed count those.
"""

from __future__ import annotations

import time

import pytest

from tests.cluster.load import ghz, questions
from tests.cluster.release import Release

pytestmark = pytest.mark.steady

FOUND_WITHIN_S = 10
"""From Ready to the first answer: DNS's 5 s, the 2 s that a connection lives, and the 1 s between look-ups."""

WATCHED_S = 12


@pytest.mark.parametrize(("stage", "replicas"), [("reranker", 3), ("retriever", 2), ("generator", 2)])
def test_new_replicas_take_their_share_and_go_without_a_failure(installed: Release, stage: str, replicas: int) -> None:
    (old,) = installed.ready(stage)
    with ghz(installed, rps=1) as counted, questions(installed, unary_rps=2) as seen:
        seen.wait_for_more(15)
        installed.scale(stage, replicas)
        installed.wait_until_ready(stage, replicas)
        ready = installed.ready(stage)
        settled = max(ready.values()) + FOUND_WITHIN_S
        time.sleep(settled + WATCHED_S - time.time())
        installed.scale(stage, 1)
        installed.wait_until_ready(stage, 1)
        (left,) = installed.ready(stage)
        alone = time.time() + 1
        seen.wait_for_more(15)
    print(seen.line(), counted.line(), sep="\n")
    assert seen.failed == []
    assert counted.count >= 40
    assert counted.statuses == {"OK": counted.count}

    delays = {pod: seen.first_of(stage, pod) - ready[pod] for pod in ready.keys() - {old}}
    print("seconds from Ready to the first answer:", {pod: round(delay, 1) for pod, delay in delays.items()})
    assert len(delays) == replicas - 1
    assert max(delays.values()) <= FOUND_WITHIN_S
    shares = seen.shares(stage, settled, settled + WATCHED_S)
    print("answers by replica:", dict(shares))
    assert shares.keys() == ready.keys()
    assert min(shares.values()) >= shares.total() / replicas / 2
    assert seen.shares(stage, alone, time.time()).keys() == {left}
