"""Clocks: what each process's machine takes for now. Deadlines travel as durations; traces and logs do not."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from cli.checks.check import Finding, Status, Trouble
from cli.checks.network import Network, on_each
from cli.checks.places import Endpoint, Place

TOLERANCE_S = 2.0
RESOLUTION_S = 1.0
"""HTTP's Date header counts whole seconds."""


def examine_clock(place: Place, network: Network) -> Iterator[Finding]:
    """The Date of every `/metrics` behind a place, against ours."""
    endpoints = place.endpoints(network.timeout_s)
    offsets = on_each(lambda endpoint: _offset_s(endpoint, network.timeout_s), endpoints)
    for endpoint, offset_s in zip(endpoints, offsets, strict=True):
        if abs(offset_s) > TOLERANCE_S:
            raise Trouble(
                f"{endpoint.address} is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} us",
                "Synchronise the machines' clocks (chrony, systemd-timesyncd): spans and certificates go by them.",
            )
    worst = max(offsets, key=abs)
    yield Finding(Status.OK, f"within {max(RESOLUTION_S, abs(worst)):.0f} s of ours")


def _offset_s(endpoint: Endpoint, timeout_s: float) -> float:
    """Their clock minus ours, 0 where the header's resolution cannot tell. Raises Trouble."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    try:
        before = time.time()
        connection.request("GET", "/metrics")
        with connection.getresponse() as reply:
            after = time.time()
        if reply.status != http.client.OK:
            raise _no_metrics(endpoint, f"HTTP status {reply.status}")
        theirs = parsedate_to_datetime(reply.headers["Date"]).timestamp()
    except (OSError, http.client.HTTPException, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = f"no answer within {timeout_s:g} s"
        raise _no_metrics(endpoint, reason) from None
    finally:
        connection.close()
    return offset_s(theirs, before, after)


def _no_metrics(endpoint: Endpoint, reason: str) -> Trouble:
    return Trouble(
        f"{endpoint.address} shows no /metrics: {reason}",
        "Is it the metrics port (71xx), and may we reach it? Prometheus reads the same address.",
    )


def offset_s(theirs: float, before: float, after: float) -> float:
    """How far a Date header is off, where ours was between `before` and `after`: 0 when they may agree."""
    if theirs > after:
        return theirs - after
    if theirs + RESOLUTION_S < before:
        return theirs + RESOLUTION_S - before
    return 0.0
