"""Configuration: a frozen dataclass, filled from the environment once, in `__main__`, and passed down.

The field `max_batch_tokens` of the reranker is the variable `RERANKER_MAX_BATCH_TOKENS`. A variable with the
process's prefix that names no field is refused, so that a misspelt setting is never a silent default.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

Config = TypeVar("Config", bound="ServerConfig")

MAX_PORT = 65_535
TLS_FIELDS = ("tls_certificate_path", "tls_key_path", "tls_ca_path")


def _host_and_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= MAX_PORT):
        raise ValueError(f"expected host:port, with a port of 0 to {MAX_PORT}")
    return address


Address = Annotated[str, AfterValidator(_host_and_port)]
"""`host:port`. Port 0 takes a free one."""

Dtype = Literal["auto", "float32", "bfloat16"]
"""What a model computes in. `auto`: bfloat16 where the device multiplies it natively, else float32."""


class ConfigError(Exception):
    """A refusal to start. The text names the variable, the file or the device at fault."""


@dataclass(frozen=True)
class ServerConfig:
    """What every process is told."""

    listen_address: Address = "127.0.0.1:0"
    """Where gRPC is served: `host:port`. Port 0 takes a free one. Loopback unless told otherwise."""

    metrics_address: Address = "127.0.0.1:0"
    """Where Prometheus reads `/metrics`: `host:port`. Port 0 takes a free one."""

    health_address: Address = "127.0.0.1:0"
    """Where probes ask for health over plain gRPC: `host:port`. Port 0 takes a free one."""

    reflection: bool = False
    """Serve gRPC reflection, for grpcurl and its kin."""

    max_message_bytes: Annotated[int, Field(ge=65_536, le=1 << 30)] = 16 << 20
    """Longest request and response, bytes. A longer request is RESOURCE_EXHAUSTED before it is read."""

    max_concurrent_calls: Annotated[int, Field(ge=1)] = 2_048
    """Calls served at once. One more is RESOURCE_EXHAUSTED. Guards memory; queues refuse earlier."""

    default_deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    """Seconds that a call without a deadline gets."""

    max_deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Seconds to which a longer deadline is cut."""

    max_connection_age_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    """Seconds after which a client is asked to connect anew and so meets new replicas. Its running calls go on."""

    drain_delay_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Seconds between NOT_SERVING and refusing calls at shutdown: how long load balancers take to notice."""

    drain_grace_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    """Seconds that running calls get to end at shutdown. Less than `max_deadline_s` may cut answers off."""

    tls_certificate_path: Path | None = None
    """PEM file of this process's certificate. With the three `tls_` files gRPC is mutual TLS: peers must show a
    certificate too. They are read again when they change. Health port and `/metrics` stay plain."""

    tls_key_path: Path | None = None
    """PEM file of the certificate's private key, not encrypted."""

    tls_ca_path: Path | None = None
    """PEM file of the authorities that peers' certificates must come from."""

    otlp_endpoint: str = ""
    """OTLP receiver for spans over gRPC: `http://host:port`. Empty exports none."""

    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of traces that begin here and are recorded: none without `otlp_endpoint`. A caller's decision is kept."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log line that is written."""


@dataclass(frozen=True)
class ModelConfig(ServerConfig):
    """What every process with a model is told besides."""

    model: str = "embedded"
    """The model: a local directory, a hub id with revision (`org/name@revision`), or `embedded`."""

    device: str = "auto"
    """`cpu`, `cuda:N`, or `auto`: the first GPU where there is one. A named GPU that is not there is refused."""

    device_exclusive: bool = False
    """Refuse to start unless exactly one GPU is visible. Set by the chart."""

    max_queue_entries: Annotated[int, Field(ge=1)] = 4_096
    """Entries that may wait for the device. One more is refused with RetryInfo. A request that alone brings more
    is taken when nothing waits."""


@dataclass(frozen=True)
class BatchConfig(ModelConfig):
    """What every process that computes in batches is told besides."""

    max_batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Padded tokens in one forward pass. By default 1,024 on a CPU, where more are hardly faster and whoever comes next
    waits for all of them, and 16,384 on a GPU, whose memory they take."""

    dtype: Dtype = "auto"
    """What the model computes in: `float32`, `bfloat16`, or `auto`, which is bfloat16 where the CPU (flags
    `avx512_bf16`, `amx_bf16`) or the GPU multiplies it natively, else float32. Vectors and scores are float32 all the
    same, and those of either dtype can be mixed."""


def load(config_class: type[Config], prefix: str, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration that `environ` describes; defaults where it is silent.

    Raises ConfigError, naming every variable that is unknown or malformed.
    """
    variable_by_field = {field.name: f"{prefix}_{field.name.upper()}" for field in dataclasses.fields(config_class)}
    refuse_unknown(set(variable_by_field.values()), prefix, environ)
    hints = typing.get_type_hints(config_class)
    values: dict[str, Any] = {}
    for field, variable in variable_by_field.items():
        if variable in environ and not (environ[variable] == "" and _is_optional(hints[field])):
            values[field] = parts(environ[variable]) if _is_tuple(hints[field]) else environ[variable]
    try:
        config = TypeAdapter(config_class).validate_python(values)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(f"{variable_by_field[str(one['loc'][0])]}: {one['msg']}" for one in error.errors())
        ) from None
    refuse_partial_tls(config, variable_by_field)
    return config


def refuse_unknown(known: set[str], prefix: str, environ: Mapping[str, str]) -> None:
    """Raises ConfigError for every variable with the prefix that is not known, with the nearest one that is."""
    unknown = sorted(name for name in environ if name.startswith(f"{prefix}_") and name not in known)
    if unknown:
        near = {name: difflib.get_close_matches(name, known, n=1) for name in unknown}
        raise ConfigError(
            "; ".join(
                f"{name}: unknown setting" + (f", did you mean {near[name][0]}?" if near[name] else "")
                for name in unknown
            )
        )


def refuse_partial_tls(config: ServerConfig, variable_by_field: Mapping[str, str]) -> None:
    """Raises ConfigError, naming what is missing, when some of the three TLS files are named and others not."""
    missing = [field for field in TLS_FIELDS if getattr(config, field) is None]
    if 0 < len(missing) < len(TLS_FIELDS):
        names = ", ".join(variable_by_field[field] for field in missing)
        raise ConfigError(f"{names}: missing; TLS needs certificate, key and CA, or none of them")


def parts(text: str) -> tuple[str, ...]:
    """The comma-separated parts of a variable, stripped; none for an empty one."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_tuple(hint: object) -> bool:
    return typing.get_origin(hint) is tuple


def _is_optional(hint: object) -> bool:
    return type(None) in typing.get_args(hint)
