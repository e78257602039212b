"""What holds of every pod that the chart makes: processes, Jobs, the test."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import (
    FILES_BY_PROFILE,
    PROCESSES,
    WITHOUT_INDEXER,
    Object,
    container,
    deployment,
    environment,
    objects,
    of_kind,
    pod,
    pod_templates,
    processes,
    rendered,
)

STAGES = ("retriever", "reranker", "generator")


def all_containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_restricted_pod_security_has_nothing_to_say(profile: str) -> None:
    for name, template in pod_templates(profile):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec), name
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "image", "persistentVolumeClaim", "secret"}, name
        for one in all_containers(spec):
            assert one["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert not {"privileged", "runAsUser"} & set(one["securityContext"]), name


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_the_root_is_read_only_and_what_is_written_to_is_bounded(profile: str) -> None:
    for name, template in pod_templates(profile):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        for one in all_containers(template["spec"]):
            assert one["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert "/tmp" in [mount["mountPath"] for mount in one["volumeMounts"]] or one["name"] == "verify", name
            assert {mount["name"] for mount in one["volumeMounts"]} <= set(volumes), name
        assert all("sizeLimit" in volume["emptyDir"] for volume in volumes.values() if "emptyDir" in volume), name


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_nobody_holds_a_token_or_finds_services_in_its_environment(profile: str) -> None:
    accounts = of_kind("ServiceAccount", profile)
    assert set(accounts) == set(processes(profile))
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())
    for name, template in pod_templates(profile):
        assert template["spec"]["automountServiceAccountToken"] is False, name
        assert template["spec"]["enableServiceLinks"] is False, name


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_every_container_says_what_it_needs_and_why_it_failed(profile: str) -> None:
    for name, template in pod_templates(profile):
        for one in all_containers(template["spec"]):
            assert {"cpu", "memory"} <= set(one["resources"]["requests"]), name
            assert "memory" in one["resources"]["limits"], name
            assert one["terminationMessagePolicy"] == "FallbackToLogsOnError", name


def test_a_platform_may_choose_the_user_itself() -> None:
    for _, template in pod_templates("everything-off"):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(template["spec"]["securityContext"])


@pytest.mark.parametrize("process", PROCESSES)
def test_probes_ask_the_health_port_and_none_that_kills_asks_for_readiness(process: str) -> None:
    one = container(process)
    health = next(port["containerPort"] for port in one["ports"] if port["name"] == "health")
    assert one["startupProbe"]["grpc"] == one["livenessProbe"]["grpc"] == {"port": health, "service": "liveness"}
    assert one["readinessProbe"]["grpc"] == {"port": health}
    # A node on which everybody starts at once has been seen to take more than a second.
    assert all(one[f"{kind}Probe"]["timeoutSeconds"] >= 5 for kind in ("startup", "readiness", "liveness"))
    assert environment(process)[f"{process.upper()}_HEALTH_ADDRESS"].endswith(f":{health}")


@pytest.mark.parametrize("settings", [(), ("preStopSeconds=0", "drainGraceS=600"), ("drainDelayS=2.5",)], ids=str)
@pytest.mark.parametrize("process", PROCESSES)
def test_a_pod_is_not_killed_while_it_drains(process: str, settings: tuple[str, ...]) -> None:
    places = {"preStopSeconds": f"{process}.", "drainGraceS": f"{process}.config.", "drainDelayS": f"{process}.config."}
    spec = pod(process, "defaults", *(f"{places[one.split('=')[0]]}{one}" for one in settings))
    told = {"preStopSeconds": 5.0, "drainDelayS": 1.0, "drainGraceS": 60.0}
    told |= {key: float(value) for key, value in (one.split("=") for one in settings)}
    sleep = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})["seconds"]
    assert sleep == told["preStopSeconds"]
    assert spec["terminationGracePeriodSeconds"] >= sum(told.values()) + 10


def test_the_indexer_is_one_and_the_old_one_ends_first() -> None:
    for profile in FILES_BY_PROFILE.keys() - WITHOUT_INDEXER:
        spec = deployment("indexer", profile)["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_retrievers_cannot_write_what_the_indexer_writes() -> None:
    mounts = {process: mount(container(process), "/collections") for process in PROCESSES}
    assert mounts["indexer"] == {"name": "collections", "mountPath": "/collections"}
    assert mounts["retriever"] == {"name": "collections", "mountPath": "/collections", "readOnly": True}
    assert not any(mounts[process] for process in ("gateway", "reranker", "generator"))


def test_collections_outlive_the_release_and_may_be_somebody_elses() -> None:
    (claim,) = of_kind("PersistentVolumeClaim").values()
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not of_kind("PersistentVolumeClaim", "everything-off")
    for process in ("retriever", "indexer"):
        assert volume(pod(process), "collections") == {"claimName": claim["metadata"]["name"]}
        assert volume(pod(process, "everything-off"), "collections") == {"claimName": "collections"}


def test_a_claim_that_one_node_holds_keeps_its_pods_on_that_node() -> None:
    labels = {process: deployment(process)["spec"]["template"]["metadata"]["labels"] for process in PROCESSES}
    for process, beside in (("retriever", {"retriever", "indexer"}), ("indexer", {"retriever"})):
        (term,) = pod(process)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        near = {other for other in PROCESSES if selects(term["labelSelector"], labels[other])}
        assert near == beside  # a retriever itself: the first of them may go anywhere, and the indexer follows
        assert "affinity" not in pod(process, "gpu")
    assert not any("affinity" in pod(process) for process in ("gateway", "reranker", "generator"))


def test_an_indexer_that_must_be_beside_the_retrievers_may_go_where_they_may() -> None:
    placed = ("retriever.nodeSelector.accelerator=h100", "indexer.nodeSelector.disk=fast")
    indexer = pod("indexer", "gpu", "collections.accessMode=ReadWriteOnce", *placed)
    assert indexer["nodeSelector"] == {"accelerator": "h100", "disk": "fast"}
    assert indexer["tolerations"] == pod("retriever", "gpu")["tolerations"]
    apart = pod("indexer", "gpu", *placed)
    assert (apart["nodeSelector"], apart.get("tolerations")) == ({"disk": "fast"}, None)


def test_a_changed_setting_replaces_that_processes_pods_and_no_others() -> None:
    def pods(*settings: str) -> dict[str, Any]:
        return {process: deployment(process, "defaults", *settings)["spec"]["template"] for process in PROCESSES}

    before, after = pods(), pods("reranker.config.maxBatchTokens=1024")
    assert {process for process in PROCESSES if before[process] != after[process]} == {"reranker"}


def test_replicas_spread_over_zones_and_nodes() -> None:
    for process in ("gateway", *STAGES):
        constraints = pod(process)["topologySpreadConstraints"]
        labels = deployment(process)["spec"]["template"]["metadata"]["labels"]
        assert [one["topologyKey"] for one in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        assert all(selects(one["labelSelector"], labels) for one in constraints)


def test_an_eviction_takes_one_pod_at_a_time_and_never_waits_for_a_broken_one() -> None:
    budgets = of_kind("PodDisruptionBudget", "gpu")
    assert set(budgets) == set(PROCESSES)
    for process, budget in budgets.items():
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert selects(budget["spec"]["selector"], deployment(process)["spec"]["template"]["metadata"]["labels"])
    assert not of_kind("PodDisruptionBudget", "everything-off")


def test_retrievers_that_share_a_node_leave_it_together() -> None:
    """One that has left must come back to that node until the last has left: one at a time, none could leave."""
    budgets = of_kind("PodDisruptionBudget", "defaults", "collections.accessMode=ReadWriteOnce")
    percent = {process: budget["spec"]["maxUnavailable"] for process, budget in budgets.items()}
    assert percent == {**dict.fromkeys(PROCESSES, 1), "retriever": "100%"}


def test_services_select_their_process_and_reach_its_ports() -> None:
    for one in (one for one in objects("defaults") if one["kind"] == "Service"):
        process = one["metadata"]["labels"]["app.kubernetes.io/component"]
        assert selects(
            {"matchLabels": one["spec"]["selector"]}, deployment(process)["spec"]["template"]["metadata"]["labels"]
        )
        by_name = {port["name"]: port["containerPort"] for port in container(process)["ports"]}
        assert all(port["port"] == by_name[port["targetPort"]] for port in one["spec"]["ports"])
        assert one["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c"
        is_for_callers = one["metadata"]["name"] == "trivium"
        assert one["spec"].get("clusterIP") == (None if is_for_callers else "None")


def test_with_tls_every_pod_that_talks_shows_a_certificate() -> None:
    for name, template in pod_templates("without-crds"):
        (secret,) = (one["secret"] for one in template["spec"]["volumes"] if one["name"] == "tls")
        who = template["metadata"]["labels"]["app.kubernetes.io/component"]
        assert secret["secretName"] == f"{who if who in PROCESSES else 'cli'}-tls", name
        assert mount(template["spec"]["containers"][0], "/tls")["readOnly"] is True
    assert "appProtocol: https" in rendered("without-crds")


def test_certificates_are_for_the_names_that_callers_use() -> None:
    certificates = of_kind("Certificate", "everything-on")
    assert set(certificates) == {*PROCESSES, "cli"}
    for process in STAGES:
        (name,) = (
            volume["secret"]["secretName"] for volume in pod(process, "everything-on")["volumes"] if "secret" in volume
        )
        assert certificates[process]["spec"]["secretName"] == name
        address = environment("gateway", "everything-on")[f"GATEWAY_{process.upper()}_ADDRESS"]
        assert address.removeprefix("dns:///").rpartition(":")[0] in certificates[process]["spec"]["dnsNames"]
    assert "trivium-answers.questions.svc" in certificates["gateway"]["spec"]["dnsNames"]


def test_images_come_from_the_registry_by_digest_or_else_by_tag() -> None:
    digest = f"sha256:{'1' * 64}"
    assert container("gateway", "everything-on")["image"] == f"registry.example/ai/trivium-gateway@{digest}"
    assert container("indexer", "everything-on")["image"] == "registry.example/ai/trivium-retriever:0.1.0"
    assert container("indexer", "everything-on")["command"] == ["python", "-m", "services.retriever.indexer"]
    assert container("reranker", "defaults", "images.tag=next")["image"] == "localhost/trivium-reranker:next"
    for name, template in pod_templates("everything-on"):
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}], name


def test_what_a_platform_says_of_its_pods_arrives() -> None:
    template = deployment("reranker", "everything-on")["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "search"
    assert template["metadata"]["annotations"]["example.org/owner"] == "search"
    spec = template["spec"]
    assert (spec["priorityClassName"], spec["nodeSelector"]) == ("serving", {"kubernetes.io/arch": "amd64"})
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert {"name": "OMP_NUM_THREADS", "value": "4"} in spec["containers"][0]["env"]


def test_jobs_and_the_test_go_to_the_nodes_of_the_processes() -> None:
    for name, template in pod_templates("everything-on"):
        assert template["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}, name
        assert [one["key"] for one in template["spec"]["tolerations"]] == ["nvidia.com/gpu"], name


def test_a_platforms_own_affinity_stands_beside_the_claims() -> None:
    affinity = pod("retriever", "everything-on", "collections.accessMode=ReadWriteOnce")["affinity"]["podAffinity"]
    assert len(affinity["preferredDuringSchedulingIgnoredDuringExecution"]) == 1
    assert len(affinity["requiredDuringSchedulingIgnoredDuringExecution"]) == 1


def mount(one: Object, path: str) -> Object:
    """What is mounted there; nothing, if nothing."""
    found: Object = next((mount for mount in one["volumeMounts"] if mount["mountPath"] == path), {})
    return found


def volume(spec: Object, name: str) -> Object:
    """The claim of a volume."""
    found: Object = next(one for one in spec["volumes"] if one["name"] == name)["persistentVolumeClaim"]
    return found


def selects(selector: Object, labels: Object) -> bool:
    """Whether a label selector takes these labels."""
    by_labels = selector.get("matchLabels", {}).items() <= labels.items()
    return by_labels and all(labels[one["key"]] in one["values"] for one in selector.get("matchExpressions", []))
