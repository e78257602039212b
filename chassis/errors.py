"""What can go wrong, as exceptions. Each class is its gRPC status; one interceptor turns them into replies.

TriviumError                     code                  details sent with the status
├── InvalidRequest               INVALID_ARGUMENT      BadRequest: one violation per field
├── NotFound                     NOT_FOUND             ResourceInfo
├── AlreadyExists                ALREADY_EXISTS        ResourceInfo
├── FailedPrecondition           FAILED_PRECONDITION   ErrorInfo
├── Overloaded                   RESOURCE_EXHAUSTED    RetryInfo: trying again later helps
├── TooLarge                     RESOURCE_EXHAUSTED    no RetryInfo: waiting does not help
├── Unavailable                  UNAVAILABLE           ErrorInfo: starting, draining, a stage out of reach
└── DeadlinePassed               DEADLINE_EXCEEDED
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "trivium"
"""`ErrorInfo.domain` of every error that Trivium raises."""

INTERNAL_TEXT = "internal error; the log of this process has the details under the trace id"
"""All that a caller learns of our own faults."""


class TriviumError(Exception):
    """An error that its caller may read: the message is sent as written, so it never quotes user text."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL

    def details(self) -> list[message.Message]:
        """google.rpc messages that travel in `grpc-status-details-bin`."""
        return []


class InvalidRequest(TriviumError):
    """The request breaks the contract. Names every field that does, in proto names (`fusion.dense_weight`)."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, description: str, *more: tuple[str, str]) -> None:
        self.violations = ((field, description), *more)
        super().__init__("; ".join(f"{name}: {text}" if name else text for name, text in self.violations))

    def details(self) -> list[message.Message]:
        violation = error_details_pb2.BadRequest.FieldViolation
        return [
            error_details_pb2.BadRequest(
                field_violations=[violation(field=field, description=text) for field, text in self.violations]
            )
        ]


class _AboutResource(TriviumError):
    def __init__(self, resource_type: str, resource_name: str, text: str) -> None:
        self.resource_type, self.resource_name = resource_type, resource_name
        super().__init__(text)

    def details(self) -> list[message.Message]:
        return [error_details_pb2.ResourceInfo(resource_type=self.resource_type, resource_name=self.resource_name)]


class NotFound(_AboutResource):
    """A collection or document that the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, resource_type: str, resource_name: str) -> None:
        super().__init__(resource_type, resource_name, f"no such {resource_type}")


class AlreadyExists(_AboutResource):
    """It exists, and not as the request wants it."""

    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, resource_type: str, resource_name: str) -> None:
        super().__init__(resource_type, resource_name, f"this {resource_type} exists with other settings")


class _WithReason(TriviumError):
    def __init__(self, reason: str, text: str, **metadata: str) -> None:
        self.reason, self.metadata = reason, metadata
        super().__init__(text)

    def details(self) -> list[message.Message]:
        return [error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)]


class FailedPrecondition(_WithReason):
    """The system is in a state in which this cannot be done: nothing published, or another encoder's index."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Unavailable(_WithReason):
    """Starting, draining, or a stage out of reach. The same call may succeed elsewhere."""

    code = grpc.StatusCode.UNAVAILABLE


class Overloaded(TriviumError):
    """Refused at once, before any work. `retry_after_s` (seconds) is when the work now waiting will be done."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, text: str, retry_after_s: float) -> None:
        self.retry_after_s = max(0.0, retry_after_s)
        super().__init__(text)

    def details(self) -> list[message.Message]:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(self.retry_after_s * 1e9))
        return [error_details_pb2.RetryInfo(retry_delay=delay)]


class TooLarge(TriviumError):
    """More than this process can ever take, or a full disk. Waiting does not help."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlinePassed(TriviumError):
    """The caller's deadline is over."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED

    def __init__(self, text: str = "the deadline passed") -> None:
        super().__init__(text)


def rich_status(code: grpc.StatusCode, text: str, details: list[message.Message]) -> bytes:
    """The serialised `google.rpc.Status` for the `grpc-status-details-bin` metadata entry."""
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    number: int = code.value[0]
    status: bytes = status_pb2.Status(code=number, message=text, details=packed).SerializeToString()
    return status
