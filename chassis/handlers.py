"""gRPC's four shapes of handlers, made one: whatever surrounds an RPC is written once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from chassis.errors import InvalidRequest

if TYPE_CHECKING:  # generic in their stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Handler, Context = grpc.RpcMethodHandler, grpc.aio.ServicerContext

Scope = Callable[[Context], contextlib.AbstractAsyncContextManager[None]]


def surround(handler: Handler, scope: Scope) -> Handler:
    """The handler, run inside `scope`, whichever of gRPC's four shapes it has. Requests arrive unparsed."""
    parse = handler.request_deserializer or bytes
    shape = (handler.request_streaming, handler.response_streaming)
    behaviour: Any = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }[shape]

    def read(request: Any) -> Any:
        return _parse_each(parse, request) if handler.request_streaming else _parse(parse, request)

    async def unary(request: Any, context: Context) -> Any:
        async with scope(context):
            return await behaviour(read(request), context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        async with scope(context), contextlib.aclosing(behaviour(read(request), context)) as responses:
            async for response in responses:
                yield response

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[shape]
    surrounded: Any = stream if handler.response_streaming else unary
    return make(surrounded, None, handler.response_serializer)


def _parse(parse: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return parse(request)
    except (DecodeError, UnicodeDecodeError):
        raise InvalidRequest("", "not a valid protobuf message of this type, or text that is not UTF-8") from None


async def _parse_each(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parse(parse, request)
