"""What outlives a release: its collections, which the next release of that name serves as they were."""

from __future__ import annotations

from typing import Any

from tests.cluster.load import questions
from tests.cluster.release import Release, Values, wait_until

WITHOUT_INGESTION: Values = {"ingest": {"enabled": False}}


def answered(release: Release) -> dict[str, Any]:
    """One question's outcome."""
    with questions(release, unary_rps=1) as seen:
        seen.wait_for_more(1)
    assert seen.failed == []
    return seen.all[0]


def at_work(release: Release) -> list[str]:
    """Pods that have not ended. What `helm test` made stays when the release goes."""
    pods = release.get("pods")["items"]
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


def test_a_new_release_serves_the_index_version_of_the_old_one(installed: Release) -> None:
    before = answered(installed)
    claim = installed.get("pvc", "trivium-collections")["metadata"]["uid"]

    installed.helm("uninstall", "trivium", "--wait", "--timeout", "3m")
    wait_until("no pod at work", lambda: not at_work(installed))
    assert [one["metadata"]["name"] for one in installed.get("pvc")["items"]] == ["trivium-collections"]

    installed.install(WITHOUT_INGESTION)
    assert installed.get("jobs")["items"] == []
    assert installed.get("pvc", "trivium-collections")["metadata"]["uid"] == claim
    after = answered(installed)
    print(f"index version {before['index_version']} before, {after['index_version']} after")
    assert after["index_version"] == before["index_version"] >= 1
    assert after["text"]
