"""The layer around every method, as service.wire.guard is around REST: request id, key, bound, and nothing leaks.

It stands before the method is looked up, so an unknown one tells nothing to who has no key. Methods behind it are plain:
`def Get(self, request, caller)` runs in a thread and returns its answer or raises a StropError; a stream is an
`async def` generator. Health is public.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from service.domain.errors import StropError, TooLarge
from service.domain.principals import LOCAL, Principal
from service.rpc import messages, refusals
from service.wire.guard import MAX_BODY, principal_of, request_id_of

PUBLIC = "/grpc.health.v1.Health/"
Context: TypeAlias = grpc.aio.ServicerContext
Work: TypeAlias = Callable[[], Awaitable[Any]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the key under which a repeated request does nothing again."""

    principal: Principal
    idempotency_key: str | None


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """`key` None: the server is bound to loopback, and answers its own machine."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if details.method.startswith(PUBLIC):
            return handler
        given = dict(reversed(details.invocation_metadata))  # the first of several holds, as in HTTP
        call = _Call(details.method, request_id_of(str(given.get("x-request-id", ""))))
        try:
            asker = principal_of(str(given.get("authorization", "")), self._key) if self._key else LOCAL
            caller = Caller(asker, given.get("idempotency-key"))
            if handler is None:
                raise refusals.UnknownMethod
        except StropError as error:
            return call.refusing(error)
        return call.streaming(handler, caller) if handler.unary_stream else call.answering(handler, caller)


class _Call:
    """One call: its method's handler put between decoding and refusing."""

    def __init__(self, method: str, request_id: str) -> None:
        self._method, self._request_id = method, request_id

    def refusing(self, error: StropError) -> Any:
        """Refuses without reading, whatever kind of call it is."""

        async def behave(requests: Any, context: Context) -> None:
            await context.abort(*refusals.of(error, self._request_id))

        return grpc.stream_stream_rpc_method_handler(behave)

    def answering(self, handler: Any, caller: Caller) -> Any:
        async def behave(raw: bytes, context: Context) -> Any:
            async def work() -> Any:
                return await asyncio.to_thread(lambda: handler.unary_unary(_read(handler, raw), caller))

            return await self._or_refuse(work, context)

        return grpc.unary_unary_rpc_method_handler(behave, response_serializer=handler.response_serializer)

    def streaming(self, handler: Any, caller: Caller) -> Any:
        async def behave(raw: bytes, context: Context) -> None:
            async def work() -> None:
                request = await asyncio.to_thread(_read, handler, raw)
                async with aclosing(handler.unary_stream(request, caller)) as answers:
                    async for answer in answers:
                        await context.write(answer)

            await self._or_refuse(work, context)

        return grpc.unary_stream_rpc_method_handler(behave, response_serializer=handler.response_serializer)

    async def _or_refuse(self, work: Work, context: Context) -> Any:
        try:
            answer = await work()
        except StropError as error:
            refusal = refusals.of(error, self._request_id)
        except Exception:
            if context.cancelled():  # nobody is there to be told
                raise asyncio.CancelledError from None
            logger.exception("%s failed", self._method, extra={"request_id": self._request_id})
            refusal = refusals.unexpected(self._request_id)
        else:
            context.set_trailing_metadata((("x-request-id", self._request_id),))
            return answer
        return await context.abort(*refusal)


def _read(handler: Any, raw: bytes) -> Any:
    if len(raw) > MAX_BODY:
        raise TooLarge(f"The message is larger than {MAX_BODY // 2**20} MiB, the bound of every method.")
    return messages.decode(handler.request_deserializer, raw)
