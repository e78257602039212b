"""Who may talk to whom: the rendered policies, evaluated between all pods and strangers, against the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import product

import pytest
import yaml

from tests.chart.documentation import connections
from tests.chart.neighbourhood import (
    CALLER,
    DNS,
    INTERNET,
    KEDA,
    PROMETHEUS,
    STRANGER,
    STRANGERS,
    backends,
    group,
    of_kind,
    pods,
)
from tests.chart.network import Manifest, Peer, Port, may_connect
from tests.chart.rendering import CHART, PROCESSES, objects, run_helm

Pair = tuple[str, str, Port]

STRANGE_PORTS = {Port(number) for number in (22, 53, 80, 443, 4317, 6443, 8080, 10250)} | {Port(53, "UDP")}
"""Where nothing of the chart listens."""

DOCUMENTS = ("ingest.enabled=true", "ingest.source.configMap.name=documents", "reindex.enabled=true")
CASES: dict[str, tuple[str, tuple[str, ...], set[str]]] = {
    "defaults": ("defaults", (), set()),
    "cpu": ("cpu", (), set()),
    "gpu": ("gpu", (), set()),
    "keda": ("keda", (), set()),
    "documents": ("cpu", DOCUMENTS, {"ingest.enabled", "reindex.enabled"}),
    "load": ("gpu", ("load.enabled=true",), {"load.enabled"}),
    "spans": ("defaults", ("telemetry.otlpEndpoint=http://collector:4317",), {"telemetry.otlpEndpoint"}),
    "hub": ("defaults", ("hub.enabled=true",), {"hub.enabled"}),
    "fetched collections": (
        "defaults",
        ("collections.source=fetch", "collections.fetch.image=x", f"collections.sha256.default/published={'0' * 64}"),
        {"collections.source: fetch"},
    ),
    "everything": (
        "everything-on",
        (),
        {"telemetry.otlpEndpoint", "hub.enabled", "ingest.enabled", "reindex.enabled", "load.enabled"},
    ),
}
"""Profile, settings, and which conditions of the table they fulfil."""


def allowed(manifests: Sequence[Manifest]) -> set[Pair]:
    """Every connection to or from a pod of the chart that the rendered policies let through."""
    own, policies = pods(manifests), of_kind(manifests, "NetworkPolicy")
    ports = STRANGE_PORTS | {Port(number) for pod in own.values() for number in pod.port_names.values()}
    everybody = [*own.values(), *STRANGERS]
    return {
        (source.name, target.name, port)
        for source, target in product(everybody, everybody)
        if source is not target and (source.name in own or target.name in own)
        for port in ports
        if may_connect(policies, source, target, port)
    }


def documented(manifests: Sequence[Manifest], conditions: set[str]) -> set[Pair]:
    """What the table says for this rendering. A range of ports means those of them that the target has."""
    own = pods(manifests)
    return {
        (source.name, target.name, port)
        for row in connections()
        if not row.condition or row.condition in conditions
        for source, target in product(group(row.source, own), group(row.target, own))
        for port in row.ports
        if len(row.ports) < 3 or port.number in target.port_names.values()
    }


@pytest.mark.parametrize("case", CASES)
def test_exactly_the_documented_pairs_may_talk(case: str) -> None:
    profile, settings, conditions = CASES[case]
    manifests = objects(profile, *settings)
    assert len(documented(manifests, conditions)) >= 25
    assert allowed(manifests) == documented(manifests, conditions)


def test_every_row_of_the_table_means_somebody() -> None:
    own = pods(objects("everything-on"))
    for row in connections():
        assert group(row.source, own), f"nobody is called {row.source!r}"
        assert group(row.target, own), f"nobody is called {row.target!r}"
    assert {row.condition for row in connections()} == {""}.union(*(fulfilled for _, _, fulfilled in CASES.values()))


def test_without_policies_everybody_talks_to_everybody() -> None:
    manifests = objects("everything-off")
    assert (INTERNET.name, "indexer", Port(7002)) in allowed(manifests)
    assert ("reranker", "generator", Port(7204)) in allowed(manifests)


@pytest.mark.parametrize("process", PROCESSES)
def test_health_ports_and_replicas_of_the_same_process_are_out_of_reach(process: str) -> None:
    manifests = objects("everything-on")
    own, policies = pods(manifests), of_kind(manifests, "NetworkPolicy")
    pod = own[process]
    assert not any(may_connect(policies, pod, pod, Port(number)) for number in pod.port_names.values())
    for other in [*own.values(), *STRANGERS]:
        assert not may_connect(policies, other, pod, Port(pod.port_names["health"]))


def configured(manifests: Sequence[Manifest]) -> set[tuple[str, str, int]]:
    """Component, Service and port of every address of this release that its pods are given."""
    given = {
        (one["metadata"]["labels"]["app.kubernetes.io/component"], text)
        for one in of_kind(manifests, "ConfigMap", "Job", "CronJob", "Pod")
        for text in re.findall(r"trivium[\w-]*\.questions\.svc:\d+", str(one.get("data") or one["spec"]))
    }
    return {(who, text.split(".")[0], int(text.rpartition(":")[2])) for who, text in given}


@pytest.mark.parametrize("case", CASES)
def test_every_address_that_a_pod_is_given_is_a_service_whose_pods_it_may_reach(case: str) -> None:
    profile, settings, conditions = CASES[case]
    manifests = objects(profile, *settings)
    own, policies = pods(manifests), of_kind(manifests, "NetworkPolicy")
    behind = {(name, port): (pod, target) for name, port, pod, target in backends(manifests, own)}
    given = configured(manifests)
    assert len(given) >= 4 + ("indexer" in own) + len(
        conditions & {"ingest.enabled", "reindex.enabled", "load.enabled"}
    )
    for who, service, port in given:
        pod, target = behind[service, port]
        assert may_connect(policies, own[who], pod, target), f"{who} is told {service}:{port} and may not go there"


def test_services_lead_to_documented_ports_alone() -> None:
    manifests = objects("everything-on")
    own = pods(manifests)
    opened = {(target, port) for _, target, port in documented(manifests, set())}
    leading = {(pod.name, port) for _, _, pod, port in backends(manifests, own)}
    assert leading == {(name, port) for name, port in opened if name in PROCESSES}


def test_keda_and_prometheus_reach_the_metrics_that_they_are_told_to_read() -> None:
    manifests = objects("keda")
    own, policies = pods(manifests), of_kind(manifests, "NetworkPolicy")
    behind = {(name, port): (pod, target) for name, port, pod, target in backends(manifests, own)}
    urls = re.findall(r"http://([\w-]+)\.questions\.svc:(\d+)/metrics", str(of_kind(manifests, "ScaledObject")))
    assert len(urls) == 3
    for service, port in urls:
        pod, target = behind[service, int(port)]
        assert may_connect(policies, KEDA, pod, target)
        assert may_connect(policies, PROMETHEUS, pod, target)


def _with_policy(**peers: list[Manifest]) -> list[Manifest]:
    """Everything that needs a policy is on, and the policies name these peers."""
    given = ["--set", "telemetry.otlpEndpoint=http://collector:4317,hub.enabled=true"]
    given += ["--set-json", f"networkPolicy={json.dumps(peers)}", "--namespace", "questions"]
    finished = run_helm("template", "trivium", CHART, *given)
    assert finished.returncode == 0, finished.stderr
    return [one for one in yaml.safe_load_all(finished.stdout) if one]


def test_callers_can_be_narrowed() -> None:
    elsewhere = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}
    manifests = _with_policy(gatewayCallers=[elsewhere])
    gateway, policies = pods(manifests)["gateway"], of_kind(manifests, "NetworkPolicy")
    assert may_connect(policies, STRANGER, gateway, Port(7000))
    assert not may_connect(policies, CALLER, gateway, Port(7000))


def test_no_callers_and_no_readers_is_nobody() -> None:
    manifests = _with_policy(gatewayCallers=[], metricsReaders=[])
    inside = set(pods(manifests))
    assert {pair for pair in allowed(manifests) if pair[0] not in inside} == set()


@pytest.mark.parametrize("peers", ["dns", "otlp", "downloads"])
def test_an_empty_list_of_peers_is_not_everybody(peers: str) -> None:
    """In a policy an empty `to` is everywhere, which nobody means who empties a list."""
    port = {"dns": Port(53), "otlp": Port(4317), "downloads": Port(443)}[peers]
    assert ("retriever", INTERNET.name, port) not in allowed(_with_policy(**{peers: []}))


def test_spans_go_to_the_port_of_the_endpoint() -> None:
    manifests = objects("defaults", "telemetry.otlpEndpoint=http://collector:14317")
    gateway, policies = pods(manifests)["gateway"], of_kind(manifests, "NetworkPolicy")
    assert may_connect(policies, gateway, STRANGER, Port(14317))
    assert not may_connect(policies, gateway, STRANGER, Port(4317))
    assert not may_connect(policies, gateway, INTERNET, Port(14317))


def test_dns_and_downloads_may_have_other_ports() -> None:
    manifests = objects(
        "defaults", "hub.enabled=true", "networkPolicy.dnsPorts={5353}", "networkPolicy.downloadPorts={9000}"
    )
    retriever, policies = pods(manifests)["retriever"], of_kind(manifests, "NetworkPolicy")
    assert may_connect(policies, retriever, DNS, Port(5353, "UDP"))
    assert not may_connect(policies, retriever, DNS, Port(53, "UDP"))
    assert may_connect(policies, retriever, INTERNET, Port(9000))
    assert not may_connect(policies, retriever, INTERNET, Port(443))


def test_only_the_process_that_fetches_may_download() -> None:
    manifests = objects(
        "defaults",
        "generator.models.source=fetch",
        "generator.models.fetch.image=fetcher",
        "generator.models.fetch.command={fetch}",
        f"generator.models.sha256.model={'0' * 64}",
    )
    own, policies = pods(manifests), of_kind(manifests, "NetworkPolicy")
    assert may_connect(policies, own["generator"], INTERNET, Port(443))
    assert not may_connect(policies, own["reranker"], INTERNET, Port(443))


def test_names_are_looked_up_and_nothing_else_is_asked_of_kube_system() -> None:
    manifests = objects()
    own, policies = pods(manifests), of_kind(manifests, "NetworkPolicy")
    dns: Peer = DNS
    assert {port for port in STRANGE_PORTS if may_connect(policies, own["gateway"], dns, port)} == {
        Port(53),
        Port(53, "UDP"),
    }
