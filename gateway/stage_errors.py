"""What a failing stage answers, as the gateway's own errors.

A fault of the caller's (its question, its collection) goes on to the caller in the gateway's field names. Any
other is the stage's: its text stays inside, and the pipeline decides whether the question can do without.
"""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from chassis.errors import (
    DeadlinePassed,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    Overloaded,
    TooLarge,
    TriviumError,
    Unavailable,
)

GONE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""A stage went away. CANCELLED is what a stopping server answers for calls that it cuts off."""

FIELD_BY_STAGE_FIELD = {
    "retriever": {
        "question": "question",
        "collection": "search.collection",
        "mode": "search.mode",
        "top_k": "search.num_candidates",
        "fusion": "search.fusion",
        "min_index_version": "search.min_index_version",
        "filter": "search.filter",
        "nprobe": "search.nprobe",
        "ef_search": "search.ef_search",
        "passage_id": "passage_id",
    },
    "reranker": {"question": "question"},
    "generator": {"question": "question", "sampling": "sampling"},
}
"""The caller's fields that reach each stage, by their first name there. Others are the gateway's own doing."""

Detail = TypeVar("Detail", bound=Message)


class StageFailed(Exception):
    """A stage broke, or broke the contract. INTERNAL to the caller, who reads none of it: the log does."""

    code = grpc.StatusCode.INTERNAL

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")


def from_rpc_error(stage: str, error: grpc.aio.AioRpcError) -> TriviumError | StageFailed:
    """The error to raise in place of `error`, with the stage's details carried over."""
    code = error.code()
    if code in GONE:
        return Unavailable("STAGE_UNAVAILABLE", f"the {stage} is out of reach", stage=stage)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlinePassed(f"the {stage} did not answer within its part of the deadline")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _exhausted(stage, error)
    return _callers_fault(stage, error) or StageFailed(stage, code.name)


def _exhausted(stage: str, error: grpc.aio.AioRpcError) -> TriviumError:
    retry = _detail(error, error_details_pb2.RetryInfo)
    if retry is None:
        return TooLarge(f"more than the {stage} can take")
    return Overloaded(f"the {stage} is overloaded", retry.retry_delay.ToNanoseconds() / 1e9)


def _callers_fault(stage: str, error: grpc.aio.AioRpcError) -> TriviumError | None:
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT:
            refused = _detail(error, error_details_pb2.BadRequest)
            return _invalid(stage, refused) or _unscored(refused)
        case grpc.StatusCode.NOT_FOUND:
            resource = _detail(error, error_details_pb2.ResourceInfo)
            return resource and NotFound(resource.resource_type, resource.resource_name)
        case grpc.StatusCode.FAILED_PRECONDITION:
            info = _detail(error, error_details_pb2.ErrorInfo)
            return info and FailedPrecondition(info.reason, error.details() or "", **info.metadata)
    return None


def _invalid(stage: str, refused: error_details_pb2.BadRequest | None) -> InvalidRequest | None:
    """None unless every violation is about a field that the caller filled."""
    violations: list[tuple[str, str]] = []
    for violation in refused.field_violations if refused else ():
        first, *rest = violation.field.split(".")
        field = FIELD_BY_STAGE_FIELD[stage].get(first)
        if field is None:
            return None
        violations.append((".".join([field, *rest]), violation.description))
    return InvalidRequest(*violations[0], *violations[1:]) if violations else None


def _unscored(refused: error_details_pb2.BadRequest | None) -> FailedPrecondition | None:
    """A generator that weighs passages by their dense scores was sent none: the search had no dense leg, or lost it."""
    fields = [violation.field for violation in refused.field_violations] if refused else []
    if fields != ["passage_scores"]:
        return None
    return FailedPrecondition(
        "DENSE_SCORES_MISSING",
        "the generator weighs passages by dense scores, and this search has none: its mode is SPARSE, or vector search "
        "was left out",
    )


def _detail(error: grpc.aio.AioRpcError, kind: type[Detail]) -> Detail | None:
    """The first detail of that kind in `grpc-status-details-bin`."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            packed = status_pb2.Status.FromString(value).details
        except DecodeError:
            return None
        for entry in packed:
            detail = kind()
            if entry.Unpack(detail):
                return detail
    return None
