"""A channel to one stage: every replica that is healthy, in turn."""

from __future__ import annotations

import json
from typing import Any

import grpc

KEEPALIVE_S = 1.0
"""Seconds of silence after which a replica is pinged."""

PING_TIMEOUT_S = 2.0
"""Seconds without an answer after which its connection is given up. Together: a frozen replica costs 3 s."""

MAX_RECONNECT_S = 2.0
"""Longest attempt to reach a replica, and longest pause before the next; gRPC's own are 20 and 120."""


def open_channel(
    target: str,
    service_name: str,
    max_message_bytes: int,
    credentials: grpc.ChannelCredentials | None = None,
    dns_interval_s: float = 5.0,
) -> grpc.aio.Channel:
    """A channel to the replicas behind a gRPC target that serve `service_name`, plain without credentials.

    Connects when first used. `dns_interval_s` is the shortest time between two look-ups of the name, so that new
    replicas are found; gRPC's own is 30.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(service_name))),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1e3)),
        ("grpc.keepalive_timeout_ms", int(PING_TIMEOUT_S * 1e3)),
        ("grpc.http2.ping_timeout_ms", int(PING_TIMEOUT_S * 1e3)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.dns_min_time_between_resolutions_ms", int(dns_interval_s * 1e3)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", int(MAX_RECONNECT_S * 1e3)),
        ("grpc.max_reconnect_backoff_ms", int(MAX_RECONNECT_S * 1e3)),
        # Stages are inside: a web proxy named in the environment is not for them.
        ("grpc.enable_http_proxy", 0),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


def service_config(service_name: str) -> dict[str, object]:
    """gRPC's service config. Every method of a stage may be repeated, and is while the stage is UNAVAILABLE.

    The throttle stops repeating once a tenth of the calls fails, so that retries cannot keep a stage down.
    """
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": service_name},
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
        "methodConfig": [
            {
                "name": [{"service": service_name}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
