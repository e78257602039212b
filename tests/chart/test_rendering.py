"""The chart renders in every state that it can be in, and what it renders is Kubernetes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.chart.rendering import CHART, FILES_BY_PROFILE, NEEDS_VERSION, objects, refusal, rendered, run_helm

VERSIONS = ("1.30", "1.34", "1.37")

OF_OPERATORS = {
    "cert-manager.io/v1 Certificate",
    "keda.sh/v1alpha1 ScaledObject",
    "monitoring.coreos.com/v1 PrometheusRule",
    "monitoring.coreos.com/v1 ServiceMonitor",
}
"""Kinds that Kubernetes does not know: no schema of its own to hold them against."""

OPERATORS_BY_PROFILE = {
    "everything-on": OF_OPERATORS,
    "keda": {"keda.sh/v1alpha1 ScaledObject"},
    "read-only": {"monitoring.coreos.com/v1 PrometheusRule", "monitoring.coreos.com/v1 ServiceMonitor"},
}


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    """The validator reads megabytes for every object: kept, the matrix takes a quarter of the time."""
    read = kubernetes_validate.utils.schema_contents
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(read))
        yield


@cache
def fault(document: str, version: str) -> str:
    """What the strict schema of a Kubernetes version finds wrong, `unknown` for a kind that it has not; else empty."""
    try:
        kubernetes_validate.validate(json.loads(document), version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return "unknown"
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("profile", ["defaults", "cpu", "gpu"])
def test_helm_lint_finds_nothing(profile: str) -> None:
    files = [f"--values={path}" for path in FILES_BY_PROFILE[profile]]
    linted = run_helm("lint", "--strict", CHART, *files)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_every_object_is_valid(profile: str, version: str) -> None:
    if version < NEEDS_VERSION.get(profile, ""):
        pytest.skip("has what this Kubernetes has not; its refusal has a test of its own")
    unknown = set()
    for one in objects(profile, kubernetes=version):
        found = fault(json.dumps(one), version)
        if found == "unknown":
            unknown.add(f"{one['apiVersion']} {one['kind']}")
        else:
            assert not found, f"{one['kind']} {one['metadata']['name']}: {found}"
    assert unknown == OPERATORS_BY_PROFILE.get(profile, set())


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_helm_3_renders_the_same(profile: str) -> None:
    assert objects(profile, helm="helm3") == objects(profile)


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_names_are_unique_and_labels_are_everywhere(profile: str) -> None:
    named = [(one["kind"], one["metadata"]["name"]) for one in objects(profile)]
    assert len(named) == len(set(named))
    for one in objects(profile):
        assert one["metadata"]["namespace"] == "questions"
        assert {
            f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "version", "managed-by")
        } <= set(one["metadata"]["labels"])


@pytest.mark.parametrize("release", ["a", "trivium-production", "a-name-as-long-as-helm-lets-a-release-be-called-53x"])
def test_names_fit_whatever_the_release_is_called(release: str) -> None:
    files = FILES_BY_PROFILE["everything-on"]
    printed = run_helm("template", release, CHART, f"--values={files[0]}", "--kube-version=1.36.0")
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(printed.stdout) if one]
    assert names
    assert all(len(name) <= 63 and name.startswith(release[:20]) for name in names)


@pytest.mark.parametrize("release", ["2nd", "my.release"])
def test_a_release_after_which_no_service_may_be_called_is_refused(release: str) -> None:
    assert "fullnameOverride: " in run_helm("template", release, CHART).stderr
    assert run_helm("template", release, CHART, "--set=fullnameOverride=trivium").returncode == 0


def test_an_upgrade_without_a_change_changes_nothing() -> None:
    first, second = (run_helm("template", "x", CHART, *options).stdout for options in (["--is-upgrade"], []))
    assert first == second != ""


def test_a_new_version_of_the_chart_alone_restarts_nothing(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "chart")
    facts = tmp_path / "chart" / "Chart.yaml"
    facts.write_text(facts.read_text().replace("\nversion: ", "\nversion: 9"))
    before, after = (
        list(yaml.safe_load_all(run_helm("template", "trivium", chart, "--set=load.enabled=true").stdout))
        for chart in (CHART, tmp_path / "chart")
    )
    assert before != after
    of_pods = [[one["spec"] for one in found if one["kind"] in ("Deployment", "Job")] for found in (before, after)]
    assert of_pods[0] == of_pods[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["retriever.gpu.count=1", "retriever.gpu.deviceClassName=gpu.nvidia.com"], "retriever.gpu.deviceClassName:"),
        (["reranker.models.source=image", "reranker.models.image=x"], "reranker.models.source:"),
        (["collections.source=image", "collections.image=x"], "collections.source:"),
        (["ingest.enabled=true", "ingest.source.image.reference=x"], "ingest.source.image:"),
    ],
    ids=["resource claims", "models by image volume", "collections by image volume", "documents by image volume"],
)
def test_what_an_old_kubernetes_cannot_have_is_refused_by_name(settings: list[str], words: str) -> None:
    said = refusal(*settings, kubernetes="1.30")
    assert words in said
    assert "this is v1.30.0" in said


@pytest.mark.parametrize("emptied", ["dns", "otlp", "downloads", "metricsReaders", "gatewayCallers"])
def test_nobody_in_a_list_of_peers_is_nobody_and_not_everybody(emptied: str) -> None:
    for one in objects("everything-on", f"networkPolicy.{emptied}=[]"):
        if one["kind"] == "NetworkPolicy":
            for rule in [*one["spec"].get("ingress", []), *one["spec"]["egress"]]:
                assert rule.get("from") or rule.get("to"), one["metadata"]["name"]


def test_notes_give_commands_for_what_was_installed() -> None:
    plain, secured = (
        run_helm("install", "trivium", CHART, "--dry-run=client", f"--values={FILES_BY_PROFILE[profile][0]}").stdout
        for profile in ("cpu", "without-crds")
    )
    assert "helm test trivium" in plain
    assert "port-forward service/trivium 7000" in plain
    assert "-plaintext" not in secured
    assert "ingest Job stored" in secured


def test_notes_warn_of_a_model_that_is_brought_and_not_used() -> None:
    claim = "reranker.models.source=claim,reranker.models.claim=models"
    idle, used = (
        run_helm("install", "trivium", CHART, "--dry-run=client", f"--set={claim}{more}").stdout
        for more in ("", ",reranker.config.model=/models/encoder")
    )
    warning = "Warning: reranker.models brings a model"
    assert warning in idle
    assert "helm test" in used
    assert warning not in used


def test_the_notes_question_survives_a_shell() -> None:
    question = 'What\'s "up"?'
    values = ["--set", f"test.question={question}", "--set=ingest.collection=manuals"]
    notes = run_helm("install", "trivium", CHART, "--dry-run=client", *values).stdout
    command = re.search(r"^  grpcurl .*\\\n.*$", notes, re.MULTILINE)
    assert command
    words = shlex.split(command[0])
    assert json.loads(words[words.index("-d") + 1]) == {"question": question, "collection": "manuals"}


def test_rules_look_at_this_namespace_alone() -> None:
    text = rendered("everything-on")
    assert 'namespace="questions"' in text
    assert 'namespace="trivium"' not in text
