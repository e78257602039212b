"""What runs `trivium` commands: the ingest Job, the reindex CronJob, the load Job, the test."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import Object, objects, of_kind, pod_templates

PROFILE = "without-crds"


def arguments(component: str, profile: str = PROFILE, *settings: str) -> list[str]:
    """What the component's container is told."""
    (template,) = (
        one
        for _, one in pod_templates(profile, *settings)
        if one["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    told: list[str] = template["spec"]["containers"][0]["args"]
    return told


def option(told: list[str], name: str) -> str:
    """An option's value."""
    return told[told.index(name) + 1]


def test_documents_are_ingested_from_the_volume_by_job_and_by_schedule() -> None:
    for component in ("ingest", "reindex"):
        told = arguments(component)
        assert told[:2] == ["ingest", "/documents"]
        assert option(told, "--indexer") == "trivium-indexer.questions.svc:7002"
        assert option(told, "--wait") == "300"
    reindex = of_kind("CronJob", PROFILE)["reindex"]["spec"]
    assert (reindex["concurrencyPolicy"], reindex["schedule"]) == ("Forbid", "0 3 * * *")


def test_a_run_that_hangs_is_given_up() -> None:
    settings = (PROFILE, "ingest.deadlineSeconds=600")
    job, schedule = of_kind("Job", *settings)["ingest"], of_kind("CronJob", *settings)["reindex"]
    for spec in (job["spec"], schedule["spec"]["jobTemplate"]["spec"]):
        assert spec["activeDeadlineSeconds"] == 600


def test_every_command_is_about_the_collection_that_is_ingested() -> None:
    for component in ("ingest", "reindex", "test", "load"):
        assert option(arguments(component, PROFILE, "ingest.collection=manuals"), "--collection") == "manuals"


def test_a_schedule_may_be_a_word() -> None:
    assert of_kind("CronJob", PROFILE, "reindex.schedule=@daily")["reindex"]["spec"]["schedule"] == "@daily"


def job_name(*settings: str) -> Any:
    return of_kind("Job", PROFILE, *settings)["ingest"]["metadata"]["name"]


def test_a_job_has_another_name_when_it_would_do_something_else() -> None:
    assert job_name() == job_name("reranker.config.maxLength=128")
    names = {job_name(), job_name("ingest.collection=manuals"), job_name("images.tag=0.2.0")}
    assert len(names) == 3


def test_jobs_are_no_hooks() -> None:
    for one in of_kind("Job", PROFILE).values():
        assert "annotations" not in one["metadata"]
        assert one["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_helm_test_asks_a_question_and_expects_its_source() -> None:
    pod: Object = of_kind("Pod", "cpu")["test"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    told = arguments("test", "cpu", "test.question=Why?", "test.expectSource=operations.md")
    assert told[0] == "doctor"
    assert option(told, "--question") == "Why?"
    assert option(told, "--expect-source") == "operations.md"
    assert option(told, "--gateway") == "trivium.questions.svc:7000"
    assert option(told, "--indexer") == "trivium-indexer.questions.svc:7002"


def test_the_load_job_carries_its_objectives_and_is_off_by_default() -> None:
    told = arguments("load")
    assert told[0] == "load"
    assert option(told, "--max-p50-ms") == "500"
    assert option(told, "--max-p99-ms") == "2000"
    assert option(told, "--max-error-share") == "0"
    assert not [one for one in objects("cpu") if one["kind"] in ("Job", "CronJob")]


@pytest.mark.parametrize("component", ["ingest", "reindex", "test", "load"])
def test_the_commands_understand_what_the_chart_tells_them(component: str) -> None:
    from typer.main import get_command

    from cli.__main__ import app

    commands: Any = get_command(app)
    name, *rest = arguments(component, PROFILE, "test.expectSource=x")
    commands.commands[name].make_context(name, rest)  # raises for an unknown option and for a malformed value
