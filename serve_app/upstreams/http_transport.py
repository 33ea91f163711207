"""HTTP as an upstream adapter needs it, and aiohttp behind it. Measured against the other clients in ADR 2."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """In seconds: to get a connection, and for the next byte on it."""

    connect_s: float
    idle_s: float


class CannotConnect(Exception):
    """No connection: refused, unresolved, no route, or no certificate to trust."""


class WaitedTooLong(Exception):
    """A wait passed its limit."""


class ConnectionLost(Exception):
    """The connection broke, or what came over it was not HTTP."""


class HttpResponse(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up without regard to case."""
        ...

    def parts(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises WaitedTooLong or ConnectionLost."""
        ...


class HttpTransport(Protocol):
    """Sends each request once: no retry, no redirect, no proxy from the environment, no cookie."""

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, limits: WaitLimits
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """Entered when the response's headers have come. Raises CannotConnect, WaitedTooLong or ConnectionLost."""
        ...

    async def aclose(self) -> None: ...


class AiohttpTransport:
    """One pool of connections. Its session is made at the first request, since it belongs to that event loop."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, limits: WaitLimits
    ) -> AsyncIterator[HttpResponse]:
        timeout = aiohttp.ClientTimeout(total=None, connect=limits.connect_s, sock_read=limits.idle_s)
        sending = self._opened().request(
            method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
        )
        async with _errors_named():
            response = await sending
        try:
            yield _Response(response)
        finally:
            # Closing, not releasing: a body that was not read to its end must not be waited for.
            response.close()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _Response:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def parts(self) -> AsyncIterator[bytes]:
        async with _errors_named():
            async for part in self._response.content.iter_any():
                yield part


@asynccontextmanager
async def _errors_named() -> AsyncIterator[None]:
    """aiohttp's timeouts are TimeoutErrors: one that left would look like the deadline's own to whoever set that."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise CannotConnect(type(error).__name__) from None
    except aiohttp.ServerTimeoutError as error:
        raise WaitedTooLong(type(error).__name__) from None
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLost(type(error).__name__) from None
