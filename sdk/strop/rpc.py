"""gRPC to the gateway: one channel, the key in the metadata, retries, and refusals as errors."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc

from strop import refusals
from strop.errors import StropError, Unavailable
from strop.finding import Target
from strop.retrying import Retries, key_of

OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 2**20),  # a page of 100 recipes is more than the default of 4 MiB
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # the default of two minutes would outlast our own retries
    ("grpc.keepalive_time_ms", 330_000),  # servers take pings more than five minutes apart unless told otherwise
    ("grpc.keepalive_timeout_ms", 20_000),
)
CUT: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What a call ends with when its server goes away, depending on where it stood; a refusal carries an error of Strop."""


KEY_METADATA: Final = "idempotency-key"


class Rpc:
    """Every call may be sent twice: reading changes nothing, and what changes something goes by `change`."""

    def __init__(
        self, find: Callable[[], Target], api_key: str | None, timeout: float, retries: Retries, agent: str
    ) -> None:
        self._find, self.retries, self._timeout = find, retries, timeout
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._options = (*OPTIONS, ("grpc.primary_user_agent", agent))
        self._lock = threading.Lock()
        self._channel: Any = None
        self._target = ""

    def connect(self) -> Any:
        """The channel; the first call finds where it goes."""
        with self._lock:
            if self._channel is None:
                target = self._find()
                self._target = target.address
                if target.secure:
                    self._channel = grpc.secure_channel(
                        target.address, grpc.ssl_channel_credentials(_authorities()), options=self._options
                    )
                else:
                    self._channel = grpc.insecure_channel(target.address, options=self._options)
            return self._channel

    def call(self, stub: Callable[[Any], Any], verb: str, request: Any) -> Any:
        """The answer to one request that changes nothing."""
        return self._send(stub, verb, request, ())

    def change(self, stub: Callable[[Any], Any], verb: str, request: Any, key: str | None) -> Any:
        """The answer to a request that makes or changes something: all its tries go under one key, and it is done once."""
        return self._send(stub, verb, request, ((KEY_METADATA, key_of(key)),))

    def _send(self, stub: Callable[[Any], Any], verb: str, request: Any, more: tuple[tuple[str, str], ...]) -> Any:
        send = getattr(stub(self.connect()), verb)

        def once() -> Any:
            try:
                return send(request, timeout=self._timeout, metadata=self._metadata + more)
            except grpc.RpcError as error:
                raise self._cut_or_refused(error) from error

        return self.retries.call(once)

    def stream(
        self, stub: Callable[[Any], Any], verb: str, request: Any, seconds: float | None = None
    ) -> Iterator[Any]:
        """The messages of one stream, not retried: Unavailable where it was cut. `seconds` bounds it as a whole."""
        call = getattr(stub(self.connect()), verb)(request, timeout=seconds, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._cut_or_refused(error) from error
        finally:
            call.cancel()

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()

    def _cut_or_refused(self, error: Any) -> StropError:
        found = refusals.of_call(error, self._target)
        if error.code() in CUT and not found.request_id:
            return Unavailable(found.message, code=Unavailable.code, retry_after=found.retry_after, status=503)
        return found


def _authorities() -> bytes | None:
    """SSL_CERT_FILE, where it is set, is trusted over gRPC as httpx trusts it over HTTP; else gRPC's own list."""
    file = os.environ.get("SSL_CERT_FILE")
    return Path(file).read_bytes() if file else None
