"""GPUs, models and the settings that follow from them."""

from __future__ import annotations

import pytest

from tests.chart.rendering import PROCESSES, container, deployment, environment, of_kind, pod

STAGES = ("retriever", "reranker", "generator")


def device(process: str, profile: str, *settings: str) -> tuple[str, str]:
    """What a process is told: its device, and whether it must be the only one."""
    variables = environment(process, profile, *settings)
    return variables[f"{process.upper()}_DEVICE"], variables[f"{process.upper()}_DEVICE_EXCLUSIVE"]


@pytest.mark.parametrize("process", STAGES)
def test_a_granted_gpu_is_asked_for_named_and_the_only_one(process: str) -> None:
    assert container(process, "gpu")["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert device(process, "gpu") == ("cuda:0", "true")


@pytest.mark.parametrize("process", [*STAGES, "indexer"])
def test_without_a_gpu_the_process_is_told_to_use_the_cpu(process: str) -> None:
    assert "nvidia.com/gpu" not in container(process)["resources"]["limits"]
    assert device(process, "defaults") == ("cpu", "false")


def test_a_device_named_in_values_has_its_way() -> None:
    settings = "reranker.config.device=cpu"
    assert device("reranker", "gpu", settings) == ("cpu", "false")
    assert container("reranker", "gpu", settings)["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_indexer_computes_on_the_cpu_unless_it_is_given_a_gpu() -> None:
    assert device("indexer", "gpu") == ("cpu", "false")
    assert device("indexer", "gpu", "indexer.gpu.count=1") == ("cuda:0", "true")


def test_where_every_gpu_is_taken_the_old_pod_makes_room() -> None:
    for process in STAGES:
        assert deployment(process, "gpu")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
        assert deployment(process)["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment("gateway", "gpu")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_slice_of_a_gpu_is_a_resource_by_its_own_name() -> None:
    limits = container("reranker", "everything-on")["resources"]["limits"]
    assert limits["nvidia.com/mig-1g.10gb"] == 1
    assert "nvidia.com/gpu" not in limits


def test_a_runtime_class_is_for_pods_with_a_gpu() -> None:
    """The others may be on nodes that have no such runtime."""
    told = {process: pod(process, "everything-on").get("runtimeClassName") for process in PROCESSES}
    assert told == {"gateway": None, "indexer": None, **dict.fromkeys(STAGES, "nvidia")}


def test_a_claimed_gpu_is_claimed_by_the_pod_and_used_by_the_container() -> None:
    templates = of_kind("ResourceClaimTemplate", "claims")
    assert set(templates) == {"retriever", "reranker"}
    for process, template in templates.items():
        (claim,) = pod(process, "claims")["resourceClaims"]
        assert claim["resourceClaimTemplateName"] == template["metadata"]["name"]
        assert container(process, "claims")["resources"]["claims"] == [{"name": claim["name"]}]
        assert "nvidia.com/gpu" not in container(process, "claims")["resources"]["limits"]
        assert device(process, "claims") == ("cuda:0", "true")


def test_another_class_of_devices_is_another_template_because_none_can_be_changed() -> None:
    before, after = (
        of_kind("ResourceClaimTemplate", "claims", *settings)["retriever"]
        for settings in ((), ("retriever.gpu.deviceClassName=mig.nvidia.com",))
    )
    assert before["spec"] != after["spec"]
    assert before["metadata"]["name"] != after["metadata"]["name"]


def test_the_gateway_has_neither_device_nor_models() -> None:
    assert not {"GATEWAY_DEVICE", "GATEWAY_MODEL"} & set(environment("gateway", "everything-on"))
    assert "models" not in {volume["name"] for volume in pod("gateway", "claims")["volumes"]}


def test_embedded_models_need_no_volume() -> None:
    for process in STAGES:
        assert "models" not in {volume["name"] for volume in pod(process)["volumes"]}
        assert "initContainers" not in pod(process)


def test_fetched_models_are_verified_before_the_process_starts() -> None:
    fetch, verify = pod("reranker", "everything-on")["initContainers"]
    assert fetch["command"] == ["fetch", "/models"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert {"name": "models", "mountPath": "/models"} in fetch["volumeMounts"]
    assert verify["command"][:3] == ["sha256sum", "--check", "--strict"]
    assert verify["workingDir"] == "/models"
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in verify["volumeMounts"]


def test_a_claims_models_are_verified_where_sums_are_given() -> None:
    (verify,) = pod("retriever", "everything-on")["initContainers"]
    assert verify["name"] == "verify-models"
    assert "initContainers" not in pod("indexer", "everything-on")
    for process in ("retriever", "indexer"):
        (models,) = (one for one in pod(process, "everything-on")["volumes"] if one["name"] == "models")
        assert models["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}


def test_downloads_are_off_unless_the_hub_is_on_and_its_token_comes_from_a_secret() -> None:
    assert "env" not in container("generator")
    variables = {one["name"]: one for one in container("generator", "everything-on")["env"]}
    assert variables["HF_HUB_OFFLINE"]["value"] == "0"
    assert variables["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    assert "HF_TOKEN" not in {one["name"] for one in container("gateway", "everything-on")["env"]}
