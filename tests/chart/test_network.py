"""The evaluator of NetworkPolicies, held against Kubernetes' own description of them, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.network import Peer, Port, matches, may_connect

SERVER = Peer("server", "shop", {"app": "server"}, {"team": "shop"}, "10.1.0.1", {"grpc": 7000})
CLIENT = Peer("client", "shop", {"app": "client"}, {"team": "shop"}, "10.1.0.2")
TWIN = Peer("twin", "other", {"app": "client"}, {"team": "other"}, "10.1.0.3")
OUTSIDE = Peer("outside", address="203.0.113.9")
GRPC = Port(7000)

TEAM = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
OTHER_TEAM = {"namespaceSelector": {"matchLabels": {"team": "other"}}}
CLIENTS = {"podSelector": {"matchLabels": {"app": "client"}}}


def policy(*ingress: dict[str, Any], selector: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A policy of the namespace `shop` for the server."""
    pod_selector = {"matchLabels": {"app": "server"}} if selector is None else selector
    return {"metadata": {"namespace": "shop"}, "spec": {"podSelector": pod_selector, "ingress": list(ingress), **spec}}


def reachable(*policies: dict[str, Any], port: Port = GRPC) -> set[str]:
    """Who reaches the server."""
    return {one.name for one in (CLIENT, TWIN, OUTSIDE) if may_connect(policies, one, SERVER, port)}


EVERYBODY = {"client", "twin", "outside"}

INGRESS: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "no policy": ([], EVERYBODY),
    "a policy without rules": ([policy()], set()),
    "a policy for other pods": ([policy(selector={"matchLabels": {"app": "x"}})], EVERYBODY),
    "a policy for every pod": ([policy(selector={})], set()),
    "a rule without peers": ([policy({"ports": [{"port": 7000}]})], EVERYBODY),
    "an empty list of peers": ([policy({"from": []})], EVERYBODY),
    "pods of the same namespace": ([policy({"from": [CLIENTS]})], {"client"}),
    "every pod of the same namespace": ([policy({"from": [{"podSelector": {}}]})], {"client"}),
    "every pod of every namespace": ([policy({"from": [{"namespaceSelector": {}}]})], {"client", "twin"}),
    "pods of another namespace": ([policy({"from": [{**OTHER_TEAM, **CLIENTS}]})], {"twin"}),
    "either of two peers": ([policy({"from": [TEAM, OTHER_TEAM]})], {"client", "twin"}),
    "both in one peer": (
        [policy({"from": [{**TEAM, "podSelector": {"matchLabels": {"app": "x"}}}]})],
        set(),
    ),
    "addresses": ([policy({"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]})], {"outside"}),
    "addresses but some": (
        [policy({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24", "10.1.0.3/32"]}}]})],
        {"client"},
    ),
    "two policies add up": ([policy({"from": [TEAM]}), policy({"from": [OTHER_TEAM]})], {"client", "twin"}),
    "another port": ([policy({"ports": [{"port": 7001}]})], set()),
    "the same port of UDP": ([policy({"ports": [{"port": 7000, "protocol": "UDP"}]})], set()),
    "a port by name": ([policy({"ports": [{"port": "grpc"}]})], EVERYBODY),
    "a name that the pod has not": ([policy({"ports": [{"port": "http"}]})], set()),
    "a range of ports": ([policy({"ports": [{"port": 6000, "endPort": 7000}]})], EVERYBODY),
    "a range that ends before": ([policy({"ports": [{"port": 6000, "endPort": 6999}]})], set()),
    "a whole protocol": ([policy({"ports": [{"protocol": "TCP"}]})], EVERYBODY),
    "peers and ports of different rules": (
        [policy({"from": [TEAM], "ports": [{"port": 1}]}, {"from": [OTHER_TEAM], "ports": [{"port": 7000}]})],
        {"twin"},
    ),
    "a policy of egress alone": ([policy(policyTypes=["Egress"])], EVERYBODY),
}


@pytest.mark.parametrize("case", INGRESS)
def test_ingress(case: str) -> None:
    policies, expected = INGRESS[case]
    assert reachable(*policies) == expected


def test_a_policy_of_another_namespace_selects_nothing_here() -> None:
    elsewhere = {**policy(), "metadata": {"namespace": "other"}}
    assert reachable(elsewhere) == EVERYBODY


def test_both_ends_must_allow() -> None:
    silent = policy(selector={"matchLabels": {"app": "client"}}, policyTypes=["Egress"])
    open_server = policy({})
    assert reachable(open_server, silent) == {"twin", "outside"}


def test_egress_is_governed_where_it_is_written_down() -> None:
    speaks = policy(selector=CLIENTS["podSelector"], egress=[{"to": [CLIENTS], "ports": [{"port": "grpc"}]}])
    assert not may_connect([speaks], CLIENT, SERVER, GRPC)
    assert not may_connect([speaks], CLIENT, OUTSIDE, GRPC)
    server = {"podSelector": {"matchLabels": {"app": "server"}}}
    speaks["spec"]["egress"][0]["to"] = [server]
    assert may_connect([speaks], CLIENT, SERVER, GRPC)
    assert not may_connect([speaks], CLIENT, SERVER, Port(7001))


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["client", "x"], True),
        ("In", ["x"], False),
        ("NotIn", ["x"], True),
        ("NotIn", ["client"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_expressions(operator: str, values: list[str], expected: bool) -> None:
    requirement = {"key": "app", "operator": operator, "values": values}
    assert matches({"matchExpressions": [requirement]}, CLIENT.labels) is expected


def test_a_missing_label_is_in_no_set() -> None:
    assert not matches({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}]}, CLIENT.labels)
    assert matches({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}, CLIENT.labels)
