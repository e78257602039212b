"""Which checks there are, from the inside out: this container, the addresses, the index, a question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from chassis.config import ConfigError
from cli.checks.address import examine_address
from cli.checks.certificates import examine_certificates, prefixes_with_tls
from cli.checks.check import Check, Finding, NotChecked
from cli.checks.clocks import examine_clock
from cli.checks.index import examine_indexed, examine_served
from cli.checks.local import (
    JUDGED_WITHIN_S,
    examine_device,
    examine_models,
    examine_settings,
    processes_with_settings,
)
from cli.checks.network import Network
from cli.checks.places import Place, find_places
from cli.checks.question import examine_question
from cli.checks.replicas import ASKING_S, examine_replicas
from cli.system import STAGES
from cli.tls import TlsFiles

HASHING_S = 600.0
"""Reading a large model from a slow volume takes its time."""
SPARE_S = 30.0
"""What a check may take beyond the time limits of what it does, which tell more than its own."""
MOST_IN_TURN = 6
"""Names, connections, handshakes and calls that one check waits for, one after the other."""


@dataclass(frozen=True)
class Order:
    """What the user asked to have checked."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    """By process; empty where none was given."""
    question: str = ""
    expected_source: str = ""
    collection: str = "default"
    timeout_s: float = 5.0
    """For each connection and each small call."""
    answer_timeout_s: float = 30.0

    @property
    def limit_s(self) -> float:
        """For a check that asks over the network."""
        return SPARE_S + MOST_IN_TURN * self.timeout_s


def checks(order: Order, environ: Mapping[str, str]) -> Iterator[Check]:
    """All of them, in the order in which they run."""
    places = find_places(order.addresses, environ)
    prefix = next(iter(prefixes_with_tls(environ)), "")
    yield from _local_checks(environ)
    yield from _certificate_checks(environ)
    try:
        network = Network(order.timeout_s, TlsFiles.named(prefix, environ) if prefix else None)
    except ConfigError:
        return  # the check of the certificates has said so: nothing can be reached
    needs = [("certificates", prefix.lower())] if prefix else []
    for name, place in places.items():
        yield Check("address", name, partial(examine_address, place, network), order.limit_s, needs)
    for name, place in places.items():
        yield Check("clock", name, partial(examine_clock, place, network), order.limit_s, [("address", name)])
    yield from _replica_checks(order, places, network)
    yield from _index_checks(order, places, network)
    yield _question_check(order, places.get("gateway"), network)


def _local_checks(environ: Mapping[str, str]) -> Iterator[Check]:
    processes = processes_with_settings(environ)
    if not processes:
        yield _skipped("settings", "processes", "no process's settings are in this environment")
    for name in processes:
        yield Check("settings", name, partial(examine_settings, name, environ), JUDGED_WITHIN_S + SPARE_S)
        if name != "gateway":
            yield Check("device", name, partial(examine_device, name, environ))
            yield Check("models", name, partial(examine_models, name, environ), limit_s=HASHING_S)


def _certificate_checks(environ: Mapping[str, str]) -> Iterator[Check]:
    prefixes = prefixes_with_tls(environ)
    if not prefixes:
        yield _skipped("certificates", "TLS", "no TLS files are named here: connections are plain")
    for prefix in prefixes:
        yield Check("certificates", prefix.lower(), partial(examine_certificates, prefix, environ))


def _replica_checks(order: Order, places: Mapping[str, Place], network: Network) -> Iterator[Check]:
    gateway = places.get("gateway")
    for stage in STAGES:
        place = places.get(stage)
        if place is None or gateway is None:
            unknown = stage if place is None else "gateway"
            yield _skipped("replicas", stage, f"no address of the {unknown} is known: --{unknown} HOST:PORT")
            continue
        yield Check(
            "replicas",
            stage,
            partial(examine_replicas, place, gateway, order.collection, network),
            limit_s=order.limit_s + ASKING_S,
            needs=[("address", one) for one in (stage, "gateway", "retriever")],
        )


def _index_checks(order: Order, places: Mapping[str, Place], network: Network) -> Iterator[Check]:
    indexer, retriever, gateway = (places.get(name) for name in ("indexer", "retriever", "gateway"))
    if indexer:
        yield Check(
            "index",
            "indexer",
            partial(examine_indexed, indexer, order.collection, network),
            limit_s=order.limit_s,
            needs=[("address", "indexer")],
        )
    else:
        yield _skipped("index", "indexer", "no address of the indexer is known: --indexer HOST:PORT")
    asked = retriever or gateway
    if asked is None:
        yield _skipped("index", "retriever", "no address of the retriever or the gateway is known")
        return
    needs = [("address", asked.process)] + ([("index", "indexer")] if indexer else [])
    yield Check(
        "index",
        "retriever",
        partial(examine_served, retriever, gateway, indexer, order.collection, network),
        limit_s=order.limit_s,
        needs=needs,
    )


def _question_check(order: Order, gateway: Place | None, network: Network) -> Check:
    if not order.question:
        return _skipped("question", "gateway", "none was given: --question TEXT")
    if gateway is None:
        return _skipped("question", "gateway", "no address of the gateway is known: --gateway HOST:PORT")
    return Check(
        "question",
        "gateway",
        partial(
            examine_question,
            gateway,
            order.question,
            order.expected_source,
            order.collection,
            order.answer_timeout_s,
            network,
        ),
        limit_s=order.limit_s + order.answer_timeout_s,
        needs=[("address", "gateway")],
    )


def _skipped(name: str, subject: str, reason: str) -> Check:
    def examine() -> Iterator[Finding]:
        raise NotChecked(reason)

    return Check(name, subject, examine)
