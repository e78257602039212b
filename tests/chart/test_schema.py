"""Values that are not meant are refused by name, before anything is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.rendering import CHART, refusal

SCHEMA = json.loads((CHART / "values.schema.json").read_text())

BROUGHT = ["collections.source=image", "collections.image=x"]

OPEN = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity", "configMap", "secret", "projected", "nfs", "csi"}
"""Pieces that Kubernetes itself defines and checks."""


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("rerankr.replicas=2", ["rerankr"]),
        ("reranker.replica=2", ["/reranker", "replica"]),
        ("reranker.config.maxBatchTokenz=1", ["/reranker/config", "maxBatchTokenz"]),
        ("reranker.config.listenAddress=0.0.0.0:1", ["/reranker/config", "listenAddress"]),
        ("reranker.gpu.counts=1", ["/reranker/gpu", "counts"]),
        ("gateway.gpu.count=1", ["/gateway", "gpu"]),
        ("indexer.replicas=2", ["/indexer", "replicas"]),
        ("indexer.autoscaling.enabled=true", ["/indexer", "autoscaling"]),
        ("gateway.autoscaling.targetSaturation=1", ["/gateway/autoscaling", "targetSaturation"]),
        ("networkPolicy.gatewayCallers[0].pods=x", ["/networkPolicy/gatewayCallers/0", "pods"]),
        ("tls.secrets.client=x", ["/tls/secrets", "client"]),
        ("collections.claim=x", ["/collections", "claim"]),
        ("collections.fetch.url=x", ["/collections/fetch", "url"]),
        ("ingest.source.hostPath.path=/etc", ["/ingest/source", "hostPath"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unknown_key_is_refused_by_name(setting: str, words: list[str]) -> None:
    said = refusal(setting)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("reranker.replicas=two", "/reranker/replicas"),
        ("reranker.config.maxBatchTokens=many", "/reranker/config/maxBatchTokens"),
        ("reranker.config.maxLength=63", "/reranker/config/maxLength"),
        ("reranker.config.engine=bm25", "/reranker/config/engine"),
        ("gateway.config.rerankWeight=1.1", "/gateway/config/rerankWeight"),
        ("gateway.config.reflection=perhaps", "/gateway/config/reflection"),
        ("generator.config.maxOutputTokens=4097", "/generator/config/maxOutputTokens"),
        ("retriever.gpu.count=2", "/retriever/gpu/count"),
        ("retriever.autoscaling.minReplicas=0", "/retriever/autoscaling/minReplicas"),
        ("workload.scratch.tmp=lots", "/workload/scratch/tmp"),
        ("workload.disruptionBudget.maxUnavailable=0", "/workload/disruptionBudget/maxUnavailable"),
        ("workload.disruptionBudget.maxUnavailable=0%", "/workload/disruptionBudget/maxUnavailable"),
        ("telemetry.otlpEndpoint=http://collector", "/telemetry/otlpEndpoint"),
        ("networkPolicy.dnsPorts={dns}", "/networkPolicy/dnsPorts/0"),
        ("workload.env.RERANKER_MODEL=x", "/workload/env/RERANKER_MODEL"),
        ("workload.podLabels.app\\.kubernetes\\.io/name=x", "/workload/podLabels/app.kubernetes.io~1name"),
        ("reranker.models.sha256.file=abc", "/reranker/models/sha256/file"),
        ("images.digests.gateway=latest", "/images/digests/gateway"),
        ("workload.env.HF_TOKEN=secret", "/workload/env/HF_TOKEN"),
        ("workload.progressDeadlineSeconds=2000000", "/workload/progressDeadlineSeconds"),
        ("images.tag=a b", "/images/tag"),
        ("tls.issuerRef.kind=Issuer", "/tls/issuerRef"),
        ("hub.tokenSecret.name=hub", "/hub/tokenSecret"),
        ("reindex.schedule=0 3 * *", "/reindex/schedule"),
        ("runAsUser=0", "/runAsUser"),
        ("telemetry.sampleRatio=2", "/telemetry/sampleRatio"),
        ("collections.accessMode=ReadOnlyMany", "/collections/accessMode"),
        ("collections.source=embedded", "/collections/source"),
        ("collections.sha256./etc/passwd=x", "/collections/sha256/~1etc~1passwd"),
        ("ingest.waitSeconds=5m", "/ingest/waitSeconds"),
    ],
    ids=lambda value: value,
)
def test_a_wrong_value_is_refused_by_name(setting: str, place: str) -> None:
    assert f"'{place}'" in refusal(setting)


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("gateway.config.drainGraceS=null", "/gateway/config"),
        ("workload.autoscaling.minReplicas=null", "/workload/autoscaling"),
        ("tls.enabled=null", "/tls"),
        ("networkPolicy=null", ""),
    ],
    ids=lambda value: value,
)
def test_null_takes_no_key_away(setting: str, place: str) -> None:
    key = setting.removesuffix("=null").rpartition(".")[2]
    assert f"'{place}': missing property '{key}'" in refusal(setting)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["retriever.config.model=a"], "indexer.config.model"),
        (["gateway.config.maxCandidates=1001"], "gateway.config.maxCandidates is 1001"),
        (["gateway.config.maxTopK=101"], "generator.config.maxPassages"),
        (["reranker.strategy.maxSurge=0"], "reranker.strategy: with maxSurge 0"),
        (["workload.strategy.maxSurge=0%", "workload.strategy.maxUnavailable=0%"], "strategy: with maxSurge 0"),
        (["reranker.autoscaling.minReplicas=5"], "reranker.autoscaling: minReplicas"),
        (["reranker.gpu.count=1", "reranker.config.device=cuda:1"], "reranker.config.device: cuda:1 is not there"),
        (["ingest.enabled=true"], "ingest.source: which volume"),
        (["reindex.enabled=true"], "ingest.source: which volume"),
        (["tls.enabled=true"], "tls.secrets."),
        (["reranker.models.source=claim"], "reranker.models.claim: which claim"),
        (["reranker.models.source=image"], "reranker.models.image: which image"),
        ([*BROUGHT, "ingest.enabled=true"], "ingest.enabled: collections.source is image"),
        ([*BROUGHT, "reindex.enabled=true"], "reindex.enabled: collections.source is image"),
        ([*BROUGHT, "collections.existingClaim=x"], "collections.existingClaim: collections.source is image"),
        ([f"collections.sha256.default/published={'0' * 64}"], "collections.sha256: collections.source is claim"),
        (["collections.source=image"], "collections.image: which image holds the collections"),
        (["collections.source=fetch", "collections.fetch.image=x"], "collections.sha256: what is fetched"),
        (["collections.source=fetch", f"collections.sha256.x={'0' * 64}"], "collections.fetch.image: which image"),
        (["reranker.models.source=fetch", "reranker.models.fetch.image=x"], "reranker.models.sha256: what is fetched"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_disagree_are_refused_in_words(settings: list[str], words: str) -> None:
    assert words in refusal(*settings)


def test_the_schema_is_closed_at_every_level() -> None:
    for path, schema in closable(SCHEMA, "values"):
        if path.rpartition(".")[2] not in OPEN:
            assert schema.get("additionalProperties", True) is not True, f"{path} takes any key"


def closable(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the schema, with its path."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        yield path, schema
    for key, value in {**schema.get("properties", {}), **schema.get("definitions", {})}.items():
        yield from closable(value, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        yield from closable(schema.get(key), f"{path}.{key}")
