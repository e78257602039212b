"""Each RPC ends exactly one span a side, with the right status, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import deadline
from chassis.calls import traced
from chassis.errors import INTERNAL_TEXT, InvalidRequest, Overloaded
from chassis.interceptors import ServerInterceptor
from chassis.metrics import Metrics
from trivium.v1 import generator_pb2 as messages
from trivium.v1 import generator_pb2_grpc as rpc

if TYPE_CHECKING:
    Stub = rpc.GeneratorServiceAsyncStub

EXPORTER = InMemorySpanExporter()
DEFAULT_DEADLINE_S = 0.4


@pytest.fixture(autouse=True)
def spans() -> Iterator[InMemorySpanExporter]:
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
        trace.set_tracer_provider(provider)
    EXPORTER.clear()
    yield EXPORTER
    EXPORTER.clear()


class ScriptedService(rpc.GeneratorServiceServicer):
    """Does what the question says."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def act(self, question: str) -> None:
        match question:
            case "invalid":
                raise InvalidRequest("question", "is invalid")
            case "overloaded":
                raise Overloaded("busy", retry_after_s=1.5)
            case "bug":
                raise ValueError("a secret")
            case "stray":
                raise asyncio.CancelledError
            case "sleep":
                try:
                    await asyncio.sleep(30)
                finally:
                    self.cancelled.set()

    async def CountTokens(self, request: messages.CountTokensRequest, context: Any) -> messages.CountTokensResponse:
        await self.act(request.texts[0])
        return messages.CountTokensResponse(max_prompt_tokens=int(deadline.current().remaining_s() * 1e3))

    async def Generate(
        self, request: messages.GenerateRequest, context: Any
    ) -> AsyncIterator[messages.GenerateResponse]:
        yield messages.GenerateResponse(delta=messages.TextDelta(text="first"))
        await self.act(request.question)
        yield messages.GenerateResponse(finished=messages.GenerateFinished())


@pytest.fixture
async def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
async def server(service: ScriptedService) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    interceptor = ServerInterceptor(Metrics(), DEFAULT_DEADLINE_S, max_deadline_s=2.0)
    interceptor.ready = True
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    rpc.add_GeneratorServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, port
    await server.stop(0)


@pytest.fixture
async def channel(server: tuple[grpc.aio.Server, int]) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server[1]}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Stub:
    return rpc.GeneratorServiceStub(traced(channel))


async def call(stub: Stub, question: str, timeout: float | None = None) -> messages.CountTokensResponse:
    return await stub.CountTokens(messages.CountTokensRequest(texts=[question]), timeout=timeout)


async def stream(stub: Stub, question: str, timeout: float | None = None) -> list[messages.GenerateResponse]:
    return [one async for one in stub.Generate(messages.GenerateRequest(question=question), timeout=timeout)]


Act = Callable[..., Awaitable[Any]]
both_shapes = pytest.mark.parametrize("act", [call, stream], ids=["unary", "stream"])


async def ended(count: int = 2) -> list[ReadableSpan]:
    """The spans, once so many have ended; and no more than these come."""
    for _ in range(200):
        if len(EXPORTER.get_finished_spans()) >= count:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    return list(EXPORTER.get_finished_spans())


async def check_one_span_a_side(client: str, server: str) -> None:
    found = await ended()
    status = {span.kind: (span.attributes or {})["rpc.response.status_code"] for span in found}
    assert len(found) == 2
    assert status == {trace.SpanKind.CLIENT: client, trace.SpanKind.SERVER: server}
    by_kind = {span.kind: span for span in found}
    parent = by_kind[trace.SpanKind.SERVER].parent
    context = by_kind[trace.SpanKind.CLIENT].context
    assert parent is not None
    assert context is not None
    assert (parent.span_id, parent.trace_id) == (context.span_id, context.trace_id)
    errors = {kind for kind, span in by_kind.items() if span.status.status_code is trace.StatusCode.ERROR}
    is_fault = server in {"DEADLINE_EXCEEDED", "INTERNAL"}
    assert errors == (
        set()
        if client == "OK"
        else {trace.SpanKind.CLIENT, trace.SpanKind.SERVER}
        if is_fault
        else {trace.SpanKind.CLIENT}
    )


@both_shapes
async def test_an_answered_call_is_ok_on_both_sides(stub: Stub, act: Act) -> None:
    await act(stub, "fine")
    await check_one_span_a_side("OK", "OK")


@both_shapes
@pytest.mark.parametrize(
    ("question", "code"),
    [("invalid", "INVALID_ARGUMENT"), ("overloaded", "RESOURCE_EXHAUSTED"), ("bug", "INTERNAL"), ("stray", "INTERNAL")],
)
async def test_an_error_has_its_status_on_both_sides(stub: Stub, act: Act, question: str, code: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await act(stub, question)
    assert raised.value.code().name == code
    await check_one_span_a_side(code, code)


@both_shapes
async def test_a_passed_deadline_is_deadline_exceeded_on_both_sides(
    stub: Stub, service: ScriptedService, act: Act
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await act(stub, "sleep", timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(service.cancelled.wait(), 2)
    await check_one_span_a_side("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


@both_shapes
async def test_a_call_without_a_deadline_gets_the_default(stub: Stub, service: ScriptedService, act: Act) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(act(stub, "sleep"), 5)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert service.cancelled.is_set()
    await check_one_span_a_side("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_a_longer_deadline_is_cut_to_the_maximum(stub: Stub) -> None:
    assert (await call(stub, "fine", timeout=100)).max_prompt_tokens <= 2_000


@both_shapes
async def test_a_cancelled_call_is_cancelled_on_both_sides(stub: Stub, service: ScriptedService, act: Act) -> None:
    task = asyncio.ensure_future(act(stub, "sleep", timeout=2))
    await asyncio.sleep(0.15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(service.cancelled.wait(), 2)
    await check_one_span_a_side("CANCELLED", "CANCELLED")


async def test_a_reader_that_leaves_a_stream_ends_both_spans(stub: Stub, service: ScriptedService) -> None:
    reading = stub.Generate(messages.GenerateRequest(question="sleep"), timeout=2)
    async for _ in reading:
        reading.cancel()
        break
    await asyncio.wait_for(service.cancelled.wait(), 2)
    await check_one_span_a_side("CANCELLED", "CANCELLED")


@both_shapes
async def test_a_server_that_stops_ends_both_spans(
    server: tuple[grpc.aio.Server, int], stub: Stub, service: ScriptedService, act: Act
) -> None:
    task = asyncio.ensure_future(act(stub, "sleep", timeout=2))
    await asyncio.sleep(0.15)
    await server[0].stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await task
    assert raised.value.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert service.cancelled.is_set()
    await check_one_span_a_side(raised.value.code().name, "CANCELLED")


async def test_a_server_that_is_not_there_ends_the_client_span() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(rpc.GeneratorServiceStub(traced(channel)), "fine", timeout=2)
    (span,) = await ended(1)
    assert (span.attributes or {})["rpc.response.status_code"] == "UNAVAILABLE"


async def test_every_reply_carries_the_trace_id(channel: grpc.aio.Channel) -> None:
    stub: Stub = rpc.GeneratorServiceStub(channel)
    fine = stub.CountTokens(messages.CountTokensRequest(texts=["fine"]))
    await fine
    trailers = dict(await fine.trailing_metadata())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(stub, "invalid")
    of_error = dict(raised.value.trailing_metadata())
    server = [span for span in await ended() if span.kind is trace.SpanKind.SERVER]
    expected = [trace.format_trace_id(span.context.trace_id) for span in server if span.context]
    assert [trailers["trace_id"], of_error["trace_id"]] == expected


async def test_errors_carry_their_details_and_no_exception_text(stub: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(stub, "overloaded")
    metadata = dict(raised.value.trailing_metadata())
    details = metadata["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1_500
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(stub, "bug")
    assert raised.value.details() == INTERNAL_TEXT


@pytest.mark.parametrize("request_bytes", [b"\x0a\x02\xff\xfe", b"\x0a\x7f"], ids=["not utf-8", "not a message"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(
    channel: grpc.aio.Channel, request_bytes: bytes
) -> None:
    count_tokens: Any = channel.unary_unary("/trivium.v1.GeneratorService/CountTokens")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await count_tokens(request_bytes)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
