"""A cloud provider over HTTP. Its place is checked against the call before a socket is opened; it never retries."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from serve_app.contracts.upstream import UpstreamCall
from serve_app.contracts.vocabulary import Place
from serve_app.errors import UpstreamBroken, UpstreamRefused, UpstreamTimedOut, UpstreamUnreachable
from serve_app.streaming.chunks import UpstreamComplaint, read_complaint
from serve_app.streaming.sse import DONE, EventTooLarge, SseParser
from serve_app.upstreams.complaints import error_of

MAX_ERROR_BYTES = 65_536
SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how long to wait for it, in seconds. `max_event_bytes` bounds one SSE event."""

    base_url: str
    place: Place
    api_key: str | None = field(repr=False)
    connect_timeout_s: float
    idle_timeout_s: float
    max_connections: int
    max_event_bytes: int


class OpenAIHttpUpstream:
    """One provider that speaks OpenAI's protocol. Use from one event loop; `aclose()` when done."""

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._endpoint = endpoint
        headers = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "upcoach-llm"}
        if endpoint.api_key is not None:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        limits = httpx.Limits(
            max_connections=endpoint.max_connections, max_keepalive_connections=endpoint.max_connections
        )
        self._client = httpx.AsyncClient(
            base_url=endpoint.base_url,
            headers=headers,
            transport=transport or httpx.AsyncHTTPTransport(limits=limits, retries=0),
            follow_redirects=False,
            trust_env=False,
        )

    async def complete(self, call: UpstreamCall) -> bytes:
        return await self._post(call, "/chat/completions")

    async def embed(self, call: UpstreamCall) -> bytes:
        return await self._post(call, "/embeddings")

    async def stream(self, call: UpstreamCall) -> AsyncGenerator[Sequence[bytes], None]:
        parser = SseParser(max_event_bytes=self._endpoint.max_event_bytes)
        async with self._errors_named(call), self._open(call, "/chat/completions") as response:
            async for received in response.aiter_raw():
                events = parser.feed(received)
                if DONE in events:
                    yield [event for event in events if event != DONE]
                    return
                if events:
                    yield events

    async def probe(self) -> None:
        """Any answer below 500 shows that the provider can be reached."""
        timeout = httpx.Timeout(self._endpoint.connect_timeout_s)
        try:
            response = await self._client.get("models", timeout=timeout)
        except httpx.HTTPError as error:
            raise UpstreamUnreachable(self._endpoint.base_url, type(error).__name__) from None
        if response.status_code >= 500:
            raise UpstreamRefused(self._endpoint.base_url, f"status_{response.status_code}")

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _post(self, call: UpstreamCall, path: str) -> bytes:
        async with self._errors_named(call), self._open(call, path) as response:
            return await response.aread()

    @asynccontextmanager
    async def _open(self, call: UpstreamCall, path: str) -> AsyncIterator[httpx.Response]:
        call.check_egress(self._endpoint.place)
        headers = {"x-request-id": call.request_id}
        if call.traceparent is not None:
            headers["traceparent"] = call.traceparent
        endpoint = self._endpoint
        request = self._client.build_request(
            "POST",
            path.removeprefix("/"),
            content=orjson.dumps(call.body),
            headers=headers,
            timeout=httpx.Timeout(
                min(endpoint.idle_timeout_s, call.remaining_s),
                connect=min(endpoint.connect_timeout_s, call.remaining_s),
                pool=min(endpoint.connect_timeout_s, call.remaining_s),
            ),
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                await self._refuse(call, response)
            yield response
        finally:
            await response.aclose()

    async def _refuse(self, call: UpstreamCall, response: httpx.Response) -> None:
        body = await _read_at_most(response, MAX_ERROR_BYTES)
        retry_after_s = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        complaint = read_complaint(_json_object(body), response.status_code) or UpstreamComplaint(
            response.status_code, None, "The upstream gave no reason.", None, is_callers_fault=False
        )
        raise error_of(complaint, call.upstream_id, retry_after_s)

    @asynccontextmanager
    async def _errors_named(self, call: UpstreamCall) -> AsyncIterator[None]:
        """Everything that httpx or the parser can raise, as errors of our own."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise UpstreamTimedOut(call.upstream_id, type(error).__name__) from None
        except httpx.ConnectError:
            raise UpstreamUnreachable(call.upstream_id, "connect") from None
        except httpx.HTTPError as error:
            raise UpstreamBroken(call.upstream_id, type(error).__name__) from None
        except EventTooLarge:
            raise UpstreamBroken(call.upstream_id, "event_too_large") from None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header, given as seconds or as an HTTP date (RFC 9110, 10.2.3); None if unreadable."""
    if value is None:
        return None
    if SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        return None
    return max(0.0, (at - now).total_seconds())


async def _read_at_most(response: httpx.Response, max_bytes: int) -> bytes:
    received = bytearray()
    async for part in response.aiter_raw():
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
