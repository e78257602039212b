"""Collections that are brought by an image or a fetch: they are verified and read, and nobody is there to write."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from services.retriever.collection import Collection
from services.retriever.version import load
from tests.chart.prometheus import rules
from tests.chart.rendering import (
    CHART,
    FILES_BY_PROFILE,
    PROCESSES,
    Object,
    container,
    deployment,
    objects,
    of_kind,
    pod,
    pod_templates,
    run_helm,
)
from tests.unit.collections_on_disk import ENCODER, create, publish_texts

IMAGE = ("collections.source=image", "collections.image=registry.example/handbook:7")
MOUNT = {"name": "collections", "mountPath": "/collections", "readOnly": True}


def volume(spec: Object, name: str) -> Object:
    """Where a volume comes from."""
    found: Object = next(one for one in spec["volumes"] if one["name"] == name)
    return {kind: source for kind, source in found.items() if kind != "name"}


@pytest.mark.parametrize(("profile", "settings"), [("read-only", ()), ("defaults", IMAGE)], ids=["fetch", "image"])
def test_where_collections_are_only_read_there_is_nobody_who_writes(profile: str, settings: tuple[str, ...]) -> None:
    components = {one["metadata"]["labels"]["app.kubernetes.io/component"] for one in objects(profile, *settings)}
    assert {"gateway", "retriever", "reranker", "generator", "test"} <= components
    assert not {"indexer", "ingest", "reindex", "collections"} & components
    assert not of_kind("PersistentVolumeClaim", profile, *settings)
    assert MOUNT in container("retriever", profile, *settings)["volumeMounts"]


def test_an_image_is_mounted_as_it_is() -> None:
    spec = pod("retriever", "defaults", *IMAGE)
    assert volume(spec, "collections") == {
        "image": {"reference": "registry.example/handbook:7", "pullPolicy": "IfNotPresent"}
    }
    assert "initContainers" not in spec


def test_what_is_fetched_is_verified_before_the_retriever_starts() -> None:
    spec = pod("retriever", "read-only")
    fetch, verify, *of_models = spec["initContainers"]
    assert [one["name"] for one in of_models] == ["fetch-models", "verify-models"]
    assert (fetch["command"], fetch["envFrom"]) == (["fetch", "/collections"], [{"secretRef": {"name": "bucket"}}])
    assert {"name": "collections", "mountPath": "/collections"} in fetch["volumeMounts"]
    assert MOUNT in verify["volumeMounts"]
    assert volume(spec, "collections") == {"emptyDir": {"sizeLimit": "20Gi"}}
    assert not any("initContainers" in pod(process, "read-only") for process in ("gateway", "reranker", "generator"))


async def test_the_sum_of_the_pointer_tells_a_collection_from_every_other(tmp_path: Path) -> None:
    collection = create(tmp_path / "collections", "default")
    await publish_texts(collection, a="the pointer")
    first = collection.path / "published"
    setting = f"collections.sha256.default/published={sha256(first.read_bytes()).hexdigest()}"
    assert verified(collection, setting, tmp_path).returncode == 0
    await publish_texts(collection, b="another version")
    refused = verified(collection, setting, tmp_path)
    assert refused.returncode != 0
    assert "default/published: FAILED" in refused.stdout


def verified(collection: Collection, setting: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What the init container's command says of the collections on this machine's disk."""
    lists = of_kind_named("trivium-retriever-checksums", setting)["data"]
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    verify = pod("retriever", "read-only", setting)["initContainers"][1]
    assert verify["workingDir"] == "/collections"
    command = [word.replace("/checksums", str(tmp_path)) for word in verify["command"]]
    return subprocess.run(command, cwd=collection.path.parent, capture_output=True, text=True, timeout=10)


def of_kind_named(name: str, *settings: str) -> Object:
    """The object of that name."""
    (found,) = (one for one in objects("read-only", *settings) if one["metadata"]["name"] == name)
    return found


async def test_pointer_and_version_are_all_that_is_read_and_reading_leaves_no_trace(tmp_path: Path) -> None:
    written = create(tmp_path / "written")
    await publish_texts(written, a="the pointer", b="the log")
    brought = Collection(tmp_path / "brought" / written.name)
    brought.path.mkdir(parents=True)
    for name in ("collection.json", "published"):
        shutil.copy(written.path / name, brought.path / name)
    shutil.copytree(written.versions_path, brought.versions_path)
    before = state(brought.path)
    pointer = brought.pointer()
    assert brought.exists()
    assert pointer is not None
    assert load(brought, pointer, ENCODER).sparse.num_passages == 2
    assert state(brought.path) == before


def state(directory: Path) -> dict[Path, tuple[int, int]]:
    """Every path below, with its size and when it was changed."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in [directory, *directory.rglob("*")]}


def test_another_version_replaces_the_retrievers_pods_and_no_others() -> None:
    def pods(*settings: str) -> dict[str, Object]:
        return {one: template for one, template in pod_templates("read-only", *settings) if "load" not in one}

    before, after = pods(), pods(f"collections.sha256.default/published={'0' * 64}")
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"trivium-retriever"}


def test_retrievers_that_share_no_claim_may_be_on_any_node_and_leave_one_by_one() -> None:
    assert "affinity" not in pod("retriever", "defaults", *IMAGE)
    assert of_kind("PodDisruptionBudget", "defaults", *IMAGE)["retriever"]["spec"]["maxUnavailable"] == 1
    assert "affinity" in pod("retriever")


def test_helm_test_asks_no_indexer_that_is_not_there() -> None:
    (spec,) = (one["spec"] for one in objects("read-only") if one["kind"] == "Pod")
    told = spec["containers"][0]["args"]
    assert told[:3] == ["doctor", "--gateway", "trivium.questions.svc:7000"]
    assert "--indexer" not in told
    assert "--question" in told


def test_nobody_is_paged_for_an_indexer_that_is_not_to_be() -> None:
    (found,) = of_kind("PrometheusRule", "read-only").values()
    kept = [rule for group in found["spec"]["groups"] for rule in group["rules"]]
    expected = [rule for rule in rules() if rule.get("labels", {}).get("process") != "indexer"]
    assert len(expected) == len(rules()) - 1
    assert [named(rule) for rule in kept] == [named(rule) for rule in expected]
    assert [rule["expr"].replace('"questions"', '"trivium"') for rule in kept] == [one["expr"] for one in expected]
    assert [group["name"] for group in found["spec"]["groups"]] == [
        group["name"] for group in of_kind("PrometheusRule", "everything-on")["rules"]["spec"]["groups"]
    ]


def named(rule: Object) -> Object:
    """All but the expression."""
    return {key: value for key, value in rule.items() if key != "expr"}


def test_the_notes_say_that_collections_are_only_read() -> None:
    files = [f"--values={path}" for path in FILES_BY_PROFILE["read-only"]]
    notes = run_helm("install", "trivium", CHART, "--dry-run=client", *files).stdout.partition("\nNOTES:\n")[2]
    assert "there is no indexer here" in notes
    assert "ingest" not in notes
    assert "Warning" not in notes


def test_a_claim_is_written_as_before() -> None:
    assert set(of_kind("Deployment")) == set(PROCESSES)
    assert "initContainers" not in deployment("retriever")["spec"]["template"]["spec"]
