"""What Prometheus may find, in promtool's notation: a world where all is well, and worlds where one thing is wrong."""

from __future__ import annotations

from collections.abc import Mapping

Series = Mapping[str, str]
"""Values by series: `1x100` is a hundred minutes of 1, `0+60x100` grows by one a second, `_` is no value."""

LATE = "100m"
"""When a world ends: the longest `for` has passed."""


def of(process: str, metric: str, pod: int = 1, **labels: str) -> str:
    """A series as Prometheus holds it after a scrape of the chart's pods."""
    job = f"trivium-{process}"
    return _series(metric, {"namespace": "trivium", "job": job, "pod": f"{job}-{pod}", **labels})


def calls(process: str, code: str, method: str = "Call") -> str:
    """The count of a method's calls that ended in this status."""
    service = f"trivium.v1.{process.capitalize()}Service"
    return of(process, "trivium_request_duration_seconds_count", method=f"{service}/{method}", code=code)


def answers_within(seconds: str) -> str:
    """The count of the answers that took no longer."""
    return of(
        "gateway",
        "trivium_request_duration_seconds_bucket",
        method="trivium.v1.GatewayService/Answer",
        code="OK",
        le=seconds,
    )


def kube(metric: str, **labels: str) -> str:
    """A series of kube-state-metrics and its kin."""
    return _series(metric, {"namespace": "trivium", "job": "kube-state-metrics", **labels})


def _series(metric: str, labels: Mapping[str, str]) -> str:
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


STEADY = "0+60x100"
"""One a second."""

HEALTHY: Series = {
    **{of(name, "trivium_ready"): "1x100" for name in ("gateway", "retriever", "indexer", "reranker", "generator")},
    **{of(name, "up"): "1x100" for name in ("gateway", "retriever", "indexer", "reranker", "generator")},
    **{of(name, "trivium_saturation"): "0.7x100" for name in ("retriever", "indexer", "reranker", "generator")},
    **{of(name, "trivium_event_loop_lag_seconds"): "0.002x100" for name in ("gateway", "retriever", "generator")},
    calls("gateway", "OK", "Answer"): STEADY,
    calls("gateway", "INVALID_ARGUMENT", "Answer"): STEADY,
    calls("gateway", "CANCELLED", "Answer"): STEADY,
    calls("retriever", "OK"): STEADY,
    calls("reranker", "OK"): STEADY,
    calls("generator", "OK"): STEADY,
    answers_within("1.0"): STEADY,
    answers_within("5.0"): STEADY,
    answers_within("10.0"): STEADY,
    answers_within("+Inf"): STEADY,
    of("gateway", "trivium_degraded_total", step="rerank_skipped"): "0x100",
    of("gateway", "trivium_degraded_total", step="dense_skipped"): "0x100",
    of("reranker", "trivium_batch_failed_total"): "3x100",
    of("retriever", "trivium_index_version", collection="default"): "7x100",
    of("retriever", "trivium_index_version", pod=2, collection="default"): "7x100",
    of("reranker", "trivium_device_memory_used_bytes", uuid="GPU-1"): "60e9x100",
    of("reranker", "trivium_device_memory_total_bytes", uuid="GPU-1"): "80e9x100",
    kube("kube_pod_container_status_restarts_total", pod="trivium-reranker-1", container="reranker"): "4x100",
    kube("kube_pod_status_phase", pod="trivium-reranker-1", phase="Pending"): "0x100",
    kube("kubelet_volume_stats_available_bytes", persistentvolumeclaim="trivium-collections"): "50e9x100",
    kube("kubelet_volume_stats_capacity_bytes", persistentvolumeclaim="trivium-collections"): "100e9x100",
    kube("kube_job_failed", job_name="trivium-reindex-1", condition="true"): "0x100",
    kube("kube_job_status_failed", job_name="trivium-reindex-1"): "1x100",  # one pod of it, before the one that did it
    kube("certmanager_certificate_expiration_timestamp_seconds", name="trivium-gateway"): "2592000x100",
}

GONE = "_x100"

WRONG: dict[str, tuple[Series, list[str]]] = {
    "questions fail": (
        {calls("gateway", "UNAVAILABLE", "Answer"): "0+6x100"},
        ["AnswersFailing", "AnswersFailingSlowly"],
    ),
    "one question in a hundred fails": (
        {calls("gateway", "INTERNAL", "Answer"): "0+1.5x100"},
        ["AnswersFailingSlowly"],
    ),
    "questions failed for ten minutes, an hour ago": (
        {calls("gateway", "INTERNAL", "Answer"): "0x20 0+6x10 60x70"},
        [],
    ),
    "no gateway is ready": ({of("gateway", "trivium_ready"): "0x100"}, ["ProcessDown gateway", "ReplicaNotReady"]),
    "the gateways are gone": ({of("gateway", "trivium_ready"): GONE}, ["ProcessDown gateway"]),
    "the retrievers are gone": ({of("retriever", "trivium_ready"): GONE}, ["ProcessDown retriever"]),
    "the rerankers are gone": (
        {
            of("reranker", "trivium_ready"): GONE,
            calls("reranker", "OK"): GONE,
            of("gateway", "trivium_degraded_total", step="rerank_skipped"): STEADY,
        },
        ["ProcessDown reranker", "AnswersDegraded rerank_skipped"],
    ),
    "the generators are gone": ({of("generator", "trivium_ready"): GONE}, ["ProcessDown generator"]),
    "the indexer is gone": ({of("indexer", "trivium_ready"): GONE}, ["ProcessDown indexer"]),
    "the index belongs to another encoder": (
        {calls("retriever", "FAILED_PRECONDITION"): STEADY, calls("gateway", "FAILED_PRECONDITION", "Answer"): STEADY},
        ["IndexUnusable"],
    ),
    "callers are refused": ({calls("gateway", "RESOURCE_EXHAUSTED", "Answer"): STEADY}, ["CallersRefused"]),
    "answers are slow": (
        {answers_within("1.0"): "0+30x100", answers_within("5.0"): "0+58x100", answers_within("10.0"): STEADY},
        ["AnswersSlow"],
    ),
    "half of the answers are not reranked": (
        {of("gateway", "trivium_degraded_total", step="rerank_skipped"): "0+30x100"},
        ["AnswersDegraded rerank_skipped"],
    ),
    "the encoder is late": (
        {of("gateway", "trivium_degraded_total", step="dense_skipped"): "0+20x100"},
        ["AnswersDegraded dense_skipped"],
    ),
    "one answer in thirty is degraded": (
        {of("gateway", "trivium_degraded_total", step="dense_skipped"): "0+2x100"},
        [],
    ),
    "the generator raises": ({calls("generator", "INTERNAL"): "0+10x100"}, ["StageFailing"]),
    "the reranker is offered too much": ({of("reranker", "trivium_saturation"): "1.4x100"}, ["Saturated"]),
    "the indexer is busy": ({of("indexer", "trivium_saturation"): "40x100"}, []),
    "one replica of two is above one": ({of("reranker", "trivium_saturation", pod=2): "1.2x100"}, []),
    "a retriever stays behind": (
        {of("retriever", "trivium_index_version", pod=2, collection="default"): "6x100"},
        ["IndexVersionBehind"],
    ),
    "a publication spreads": (
        {of("retriever", "trivium_index_version", pod=2, collection="default"): "7x95 8x5"},
        [],
    ),
    "nothing was ever published": (
        {of("retriever", "trivium_index_version", pod=pod, collection="default"): GONE for pod in (1, 2)},
        ["NothingPublished"],
    ),
    "a second reranker never becomes ready": ({of("reranker", "trivium_ready", pod=2): "0x100"}, ["ReplicaNotReady"]),
    "a second reranker loads": ({of("reranker", "trivium_ready", pod=2): "_x94 0x6"}, []),
    "batches raise": ({of("reranker", "trivium_batch_failed_total"): "3x95 4x5"}, ["BatchesFailing"]),
    "the loop is blocked": ({of("gateway", "trivium_event_loop_lag_seconds"): "0.4x100"}, ["EventLoopLagging"]),
    "a GPU is full": (
        {of("reranker", "trivium_device_memory_used_bytes", uuid="GPU-1"): "79e9x100"},
        ["DeviceMemoryFull"],
    ),
    "a replica is not scraped": ({of("reranker", "up", pod=2): "0x100"}, ["NotScraped"]),
    "a process crashes in a loop": (
        {
            kube(
                "kube_pod_container_status_restarts_total", pod="trivium-reranker-1", container="reranker"
            ): "4x80 4+1x20"
        },
        ["CrashLooping"],
    ),
    "a pod waits for a GPU": (
        {kube("kube_pod_status_phase", pod="trivium-reranker-1", phase="Pending"): "1x100"},
        ["PodPending"],
    ),
    "the collections' volume is nearly full": (
        {kube("kubelet_volume_stats_available_bytes", persistentvolumeclaim="trivium-collections"): "9e9x100"},
        ["CollectionsFilling"],
    ),
    "a reindexing failed": (
        {kube("kube_job_failed", job_name="trivium-reindex-1", condition="true"): "1x100"},
        ["JobFailed"],
    ),
    "a certificate runs out": (
        {kube("certmanager_certificate_expiration_timestamp_seconds", name="trivium-gateway"): "432000x100"},
        ["CertificateExpiring"],
    ),
    "a certificate runs out, its namespace renamed": (
        {'certmanager_certificate_expiration_timestamp_seconds{exported_namespace="trivium"}': "432000x100"},
        ["CertificateExpiring"],
    ),
}
