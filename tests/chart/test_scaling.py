"""Who owns the replicas, and by what."""

from __future__ import annotations

import pytest

from tests.chart.rendering import FILES_BY_PROFILE, deployment, of_kind, processes

STAGES = ("retriever", "reranker", "generator")


@pytest.mark.parametrize("profile", FILES_BY_PROFILE)
def test_replicas_have_one_owner(profile: str) -> None:
    for process in processes(profile):
        owners = [
            "replicas" in deployment(process, profile)["spec"],
            process in of_kind("ScaledObject", profile),
            process in of_kind("HorizontalPodAutoscaler", profile),
        ]
        assert sum(owners) == 1, process


@pytest.mark.parametrize("process", STAGES)
def test_keda_adds_up_the_saturation_of_the_stages_replicas(process: str) -> None:
    scaled = of_kind("ScaledObject", "keda")[process]["spec"]
    assert scaled["scaleTargetRef"] == {"name": deployment(process, "keda")["metadata"]["name"]}
    (trigger,) = scaled["triggers"]
    service = of_kind("Service", "keda")[process]
    (port,) = (one["port"] for one in service["spec"]["ports"] if one["name"] == "metrics")
    assert trigger == {
        "type": "metrics-api",
        "metricType": "AverageValue",
        "metadata": {
            "url": f"http://{service['metadata']['name']}.questions.svc:{port}/metrics",
            "format": "prometheus",
            "valueLocation": "trivium_saturation",
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "sum",
            "targetValue": "0.7",
        },
    }


def test_keda_asks_prometheus_where_there_is_one() -> None:
    (trigger,) = of_kind("ScaledObject", "everything-on")["reranker"]["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert (
        trigger["metadata"]["query"] == 'sum(trivium_saturation{namespace="questions",job="trivium-answers-reranker"})'
    )
    assert trigger["metadata"]["ignoreNullValues"] == "false"


@pytest.mark.parametrize("process", STAGES)
def test_a_plain_autoscaler_reads_the_pods_saturation(process: str) -> None:
    scaler = of_kind("HorizontalPodAutoscaler", "hpa")[process]["spec"]
    assert scaler["metrics"] == [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": "trivium_saturation"},
                "target": {"type": "AverageValue", "averageValue": "650m"},
            },
        }
    ]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)


def test_the_gateway_is_scaled_by_its_cpu() -> None:
    (metric,) = of_kind("HorizontalPodAutoscaler", "hpa")["gateway"]["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    (trigger,) = of_kind("ScaledObject", "keda")["gateway"]["spec"]["triggers"]
    assert trigger == {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_replicas_go_slowly(kind: str) -> None:
    if kind == "hpa":
        behavior = of_kind("HorizontalPodAutoscaler", "hpa")["reranker"]["spec"]["behavior"]
    else:
        advanced = of_kind("ScaledObject", "keda")["reranker"]["spec"]["advanced"]
        behavior = advanced["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    assert behavior["scaleUp"] == {"stabilizationWindowSeconds": 15}
