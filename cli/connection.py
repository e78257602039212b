"""Channels to the processes, and their refusals in words for a person."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from cli.tls import TlsFiles

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)

_ATTEMPT_S = 5.0
"""For one question after health, which may go to an address that swallows it."""
_PAUSE_S = 0.25


def open_channel(address: str) -> grpc.Channel:
    """A channel without limits of its own on messages, quick to try again; TLS where `TRIVIUM_TLS_…` names the files.

    Raises ConfigError when only some of these are named.
    """
    files = TlsFiles.named("TRIVIUM", os.environ)
    if files is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    return grpc.secure_channel(address, files.credentials(), options=_OPTIONS)


@dataclass(frozen=True)
class Refusal:
    """Why a call failed, as far as its caller may know."""

    code: str
    message: str
    field_violations: list[dict[str, str]]
    retry_after_s: float | None
    trace_id: str

    @classmethod
    def of(cls, error: grpc.RpcError) -> Refusal:
        """Read status, google.rpc details and trailing metadata of a failed call."""
        call: Any = error  # What a failed call raises is also its outcome.
        metadata = dict(call.trailing_metadata() or ())
        violations, retry_after_s, subject = [], None, ""
        for detail in details_of(error):
            if isinstance(detail, error_details_pb2.BadRequest):
                violations = [{"field": v.field, "description": v.description} for v in detail.field_violations]
            elif isinstance(detail, error_details_pb2.RetryInfo):
                retry_after_s = detail.retry_delay.ToNanoseconds() / 1e9
            elif isinstance(detail, error_details_pb2.ResourceInfo):
                subject = f" ({detail.resource_name})"
        code, message = call.code().name, (call.details() or "") + subject
        return cls(code, message, violations, retry_after_s, str(metadata.get("trace_id", "")))

    @property
    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{self.code}: {self.message}"]
        parts += [
            f"{violation['field']}: {violation['description']}"
            for violation in self.field_violations
            if violation["description"] not in self.message
        ]
        if self.retry_after_s is not None:
            parts.append(f"try again in {self.retry_after_s:.1f} s")
        if self.trace_id:
            parts.append(f"trace {self.trace_id}")
        return " · ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"error": asdict(self)}


class CallFailed(Exception):
    """A call to one of the processes failed."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.line)


@contextmanager
def calling(process: str, address: str) -> Iterator[None]:
    """Turn a failed call to `process` at `address` into CallFailed."""
    try:
        yield
    except grpc.RpcError as error:
        refusal = Refusal.of(error)
        if refusal.code == "UNAVAILABLE" and not refusal.trace_id:
            refusal = _nobody_answers(process, address, refusal)
        raise CallFailed(refusal) from error


def wait_until_serving(process: str, address: str, wait_s: float) -> None:
    """Return once `process` at `address` says that it serves. Raises CallFailed when it does not within `wait_s`.

    Each attempt has a channel of its own: one whose name was not found looks it up again ever more rarely.
    """
    give_up_at = time.monotonic() + wait_s
    while refusal := _why_not_serving(process, address, min(wait_s, _ATTEMPT_S)):
        if time.monotonic() + _PAUSE_S > give_up_at:
            raise CallFailed(replace(refusal, message=f"{refusal.message} (waited {wait_s:g} s)"))
        time.sleep(_PAUSE_S)


def _why_not_serving(process: str, address: str, timeout_s: float) -> Refusal | None:
    """None too when its health cannot be asked: then the call that is meant tells more."""
    with open_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            refusal = Refusal.of(error)
            is_away = refusal.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
            return _nobody_answers(process, address, refusal) if is_away else None
    if reply.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return Refusal("UNAVAILABLE", f"the {process} at {address} is not serving: it starts or stops", [], None, "")


def _nobody_answers(process: str, address: str, refusal: Refusal) -> Refusal:
    how = f" over TLS ({refusal.message})" if TlsFiles.named("TRIVIUM", os.environ) else ""
    return Refusal("UNAVAILABLE", f"no {process} answers at {address}{how}; `trivium up` starts one", [], None, "")


def details_of(error: grpc.RpcError) -> list[Any]:
    """The messages of google.rpc that came with a failed call, of the kinds that Trivium sends."""
    call: Any = error  # What a failed call raises is also its outcome.
    status = rpc_status.from_call(call)
    unpacked = []
    for packed in status.details if status else ():
        for kind in (
            error_details_pb2.BadRequest,
            error_details_pb2.ErrorInfo,
            error_details_pb2.ResourceInfo,
            error_details_pb2.RetryInfo,
        ):
            detail = kind()
            if packed.Unpack(detail):
                unpacked.append(detail)
    return unpacked
