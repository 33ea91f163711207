"""A cloud provider over HTTP. Its place is checked against the call before a socket is opened; it never retries."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import Place
from serve_app.errors import UpstreamBroken, UpstreamRefused, UpstreamTimedOut, UpstreamUnreachable
from serve_app.resilience.retry_after import parse_retry_after
from serve_app.streaming.chunks import UpstreamComplaint, read_complaint
from serve_app.streaming.sse import DONE, EventTooLarge, SseParser
from serve_app.upstreams.complaints import error_of
from serve_app.upstreams.http_transport import (
    AiohttpTransport,
    CannotConnect,
    ConnectionLost,
    HttpResponse,
    HttpTransport,
    WaitedTooLong,
    WaitLimits,
)

MAX_ERROR_BYTES = 65_536
DRAIN_LIMIT_S = 0.02


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how long to wait for it, in seconds; bounds of one SSE event and of a plain answer."""

    base_url: str
    place: Place
    api_key: str | None = field(repr=False)
    connect_timeout_s: float
    idle_timeout_s: float
    max_connections: int
    max_event_bytes: int
    max_answer_bytes: int


class OpenAIHttpUpstream:
    """One provider that speaks OpenAI's protocol. Use from one event loop; `aclose()` when done."""

    def __init__(self, endpoint: Endpoint, transport: HttpTransport | None = None) -> None:
        self._endpoint = endpoint
        self._transport = transport or AiohttpTransport(endpoint.max_connections)
        self._base_url = endpoint.base_url.rstrip("/")

    @asynccontextmanager
    async def reserve(self, limit_s: float) -> AsyncIterator["OpenAIHttpUpstream"]:
        """A provider's room is its own business: its 429 tells when there is none."""
        yield self

    async def wake(self) -> None:
        """A provider is always there to be called."""

    async def complete(self, call: UpstreamCall) -> bytes:
        return await self._post(call, "/chat/completions")

    async def embed(self, call: UpstreamCall) -> bytes:
        return await self._post(call, "/embeddings")

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        parser = SseParser(max_event_bytes=self._endpoint.max_event_bytes)
        async with self._errors_named(call), self._open(call, "/chat/completions") as response:
            async for received in response.parts():
                events = parser.feed(received)
                if DONE in events:
                    yield [event for event in events if event != DONE]
                    await _drain(response)
                    return
                if events:
                    yield events

    async def probe(self) -> None:
        """Any answer below 500 shows that the provider can be reached."""
        limit_s = self._endpoint.connect_timeout_s
        limits = WaitLimits(connect_s=limit_s, idle_s=limit_s)
        sending = self._transport.send(
            "GET", f"{self._base_url}/models", headers=self._headers(), body=None, limits=limits
        )
        try:
            async with sending as response:
                status = response.status
        except (CannotConnect, WaitedTooLong, ConnectionLost) as error:
            raise UpstreamUnreachable(self._base_url, type(error).__name__) from None
        if status >= 500:
            raise UpstreamRefused(self._base_url, f"status_{status}")

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "upcoach-llm"}
        if self._endpoint.api_key is not None:
            headers["authorization"] = f"Bearer {self._endpoint.api_key}"
        return headers

    async def _post(self, call: UpstreamCall, path: str) -> bytes:
        async with self._errors_named(call), self._open(call, path) as response:
            return await self._read_answer(call, response)

    async def _read_answer(self, call: UpstreamCall, response: HttpResponse) -> bytes:
        received = bytearray()
        async for part in response.parts():
            received += part
            if len(received) > self._endpoint.max_answer_bytes:
                raise UpstreamBroken(call.upstream_id, "answer_too_large")
        return bytes(received)

    @asynccontextmanager
    async def _open(self, call: UpstreamCall, path: str) -> AsyncIterator[HttpResponse]:
        call.check_egress(self._endpoint.place)
        headers = self._headers()
        headers["x-request-id"], headers["x-upcoach-attempt"] = call.request_id, call.attempt_id
        if call.traceparent is not None:
            headers["traceparent"] = call.traceparent
        limits = WaitLimits(
            connect_s=min(self._endpoint.connect_timeout_s, call.remaining_s),
            idle_s=min(self._endpoint.idle_timeout_s, call.remaining_s),
        )
        body = orjson.dumps(call.body)
        url = f"{self._base_url}{path}"
        async with self._transport.send("POST", url, headers=headers, body=body, limits=limits) as response:
            if response.status != 200:
                await self._refuse(call, response)
            yield response

    async def _refuse(self, call: UpstreamCall, response: HttpResponse) -> None:
        body = await _read_at_most(response, MAX_ERROR_BYTES)
        retry_after_s = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        complaint = read_complaint(_json_object(body), response.status) or UpstreamComplaint(
            response.status, None, "The upstream gave no reason.", None, is_callers_fault=False
        )
        raise error_of(complaint, call.upstream_id, retry_after_s)

    @asynccontextmanager
    async def _errors_named(self, call: UpstreamCall) -> AsyncIterator[None]:
        """Everything that the transport or the parser can raise, as errors of our own."""
        try:
            yield
        except WaitedTooLong:
            raise UpstreamTimedOut(call.upstream_id, "idle") from None
        except CannotConnect:
            raise UpstreamUnreachable(call.upstream_id, "connect") from None
        except ConnectionLost:
            raise UpstreamBroken(call.upstream_id, "connection_lost") from None
        except EventTooLarge:
            raise UpstreamBroken(call.upstream_id, "event_too_large") from None


async def _drain(response: HttpResponse) -> None:
    """Reads the end of a body whose last event has come, so that its connection can be used again."""
    with contextlib.suppress(TimeoutError, WaitedTooLong, ConnectionLost):
        async with asyncio.timeout(DRAIN_LIMIT_S):
            async for _ in response.parts():
                pass


async def _read_at_most(response: HttpResponse, max_bytes: int) -> bytes:
    received = bytearray()
    async for part in response.parts():
        received += part
        if len(received) >= max_bytes:
            break
    return bytes(received[:max_bytes])


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
