"""Where `trivium doctor` looks."""

import socket

import pytest

from cli.checks.check import Trouble
from cli.checks.places import find_places, resolve


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        pytest.param("127.0.0.1:7003", ["127.0.0.1:7003"], id="address"),
        pytest.param("localhost:7003", ["127.0.0.1:7003"], id="name"),
        pytest.param("dns:///localhost:7003", ["127.0.0.1:7003"], id="dns"),
        pytest.param("dns://8.8.8.8/127.0.0.1:7003", ["127.0.0.1:7003"], id="dns-with-server"),
        pytest.param("ipv4:127.0.0.1:1,127.0.0.2:2", ["127.0.0.1:1", "127.0.0.2:2"], id="list"),
        pytest.param("ipv4:127.0.0.1:1,127.0.0.1:1", ["127.0.0.1:1"], id="doubles"),
        pytest.param("[::1]:7003", ["[::1]:7003"], id="ipv6"),
    ],
)
def test_a_target_is_taken_apart_as_grpc_does(target: str, addresses: list[str]) -> None:
    assert [endpoint.address for endpoint in resolve(target, "--reranker", 5)] == addresses


@pytest.mark.parametrize("target", ["localhost", "dns:///localhost", "unix:///tmp/socket", "a:b", ""])
def test_a_target_that_is_none_is_refused_by_the_name_of_its_setting(target: str) -> None:
    with pytest.raises(Trouble) as refused:
        resolve(target, "GATEWAY_RERANKER_ADDRESS", 5)
    assert "GATEWAY_RERANKER_ADDRESS" in refused.value.finding.advice


def test_a_name_that_is_not_there_is_said_to_be_not_there() -> None:
    with pytest.raises(Trouble, match=r"the name reranker\.invalid does not resolve"):
        resolve("dns:///reranker.invalid:7003", "--reranker", 20)


def test_every_address_behind_a_name_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"10.0.0.{last}", 7003)) for last in (2, 1)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    found = resolve("dns:///trivium-reranker:7003", "--reranker", 5)
    assert [(one.address, one.name) for one in found] == [
        ("10.0.0.1:7003", "trivium-reranker"),
        ("10.0.0.2:7003", "trivium-reranker"),
    ]


def test_without_a_word_the_addresses_of_up_are_looked_at() -> None:
    places = find_places({}, {})
    assert {name: place.target for name, place in places.items()} == {
        "gateway": "127.0.0.1:7000",
        "retriever": "127.0.0.1:7001",
        "indexer": "127.0.0.1:7002",
        "reranker": "127.0.0.1:7003",
        "generator": "127.0.0.1:7004",
    }


def test_in_the_gateways_container_its_stages_are_known() -> None:
    environ = {
        "GATEWAY_LISTEN_ADDRESS": "0.0.0.0:7000",
        "GATEWAY_RERANKER_ADDRESS": "dns:///trivium-reranker:7003",
    }
    places = find_places({"indexer": "indexer:7002"}, environ)
    assert {name: place.target for name, place in places.items()} == {
        "gateway": "127.0.0.1:7000",
        "indexer": "indexer:7002",
        "reranker": "dns:///trivium-reranker:7003",
    }


def test_options_win_over_settings() -> None:
    environ = {"GATEWAY_RERANKER_ADDRESS": "dns:///trivium-reranker:7003"}
    assert find_places({"reranker": "other:7003"}, environ)["reranker"].target == "other:7003"
