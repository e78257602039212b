"""Channels to the processes, and their refusals in words for a person."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cli.tls import TlsFiles

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


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
            how = f" over TLS ({refusal.message})" if TlsFiles.named("TRIVIUM", os.environ) else ""
            text = f"no {process} answers at {address}{how}; `trivium up` starts one"
            refusal = Refusal(refusal.code, text, [], None, "")
        raise CallFailed(refusal) from error


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
