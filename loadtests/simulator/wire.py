"""HTTP/1.1 on a bare asyncio protocol, parsed by httptools.

The faults live below ASGI (a reset before the first byte, half a body, a stream that just stops), and the benchmark's
upstream should cost next to nothing: so the simulator holds its own transport. One request is answered at a time on
a connection; the next one on it waits. A task that answers is cancelled as soon as its client has gone.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httptools

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_PIPELINED = 16
JSON_TYPE = b"application/json"
SSE_TYPE = b"text/event-stream; charset=utf-8"
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_SERVER = b"Server: upcoach-simulator\r\n"
_FLUSH_S = 0.02
_LINGER_RESET = struct.pack("ii", 1, 0)  # on, 0 s: closing sends RST and drops what was not sent

_log = logging.getLogger("loadtests.simulator")

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """`path` has no query. Header names are in lower case."""

    method: str
    path: str
    headers: list[Header]
    body: bytes
    keeps_alive: bool

    def header(self, name: bytes) -> str | None:
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None


class Exchange:
    """One request and the ways to answer it, well or badly."""

    __slots__ = ("_connection", "request", "when_client_left")

    def __init__(self, request: Request, connection: "Connection") -> None:
        self.request, self._connection = request, connection
        self.when_client_left: Callable[[], None] | None = None

    def respond(
        self, status: int, body: bytes, content_type: bytes = JSON_TYPE, headers: tuple[Header, ...] = ()
    ) -> None:
        """The whole answer."""
        self.open_body(status, len(body), body, content_type=content_type, headers=headers)
        self._connection.finish(self.request.keeps_alive)

    def open_body(
        self,
        status: int,
        num_bytes: int,
        first: bytes,
        *,
        content_type: bytes = JSON_TYPE,
        headers: tuple[Header, ...] = (),
    ) -> None:
        """Announces a body of `num_bytes` and sends only `first` of it."""
        extra = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._connection.write(
            b"%b%b%bContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (_LINES[status], _SERVER, extra, content_type, num_bytes, first)
        )

    def open_stream(self, content_type: bytes = SSE_TYPE) -> None:
        self._connection.write(
            b"%b%bContent-Type: %b\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
            % (_LINES[200], _SERVER, content_type)
        )

    def send(self, payload: bytes) -> None:
        """One piece of an open stream."""
        self._connection.write(b"%x\r\n%b\r\n" % (len(payload), payload))

    async def drain(self) -> None:
        """Waits while the client reads more slowly than the simulator writes."""
        await self._connection.can_write.wait()

    def end_stream(self) -> None:
        self._connection.write(b"0\r\n\r\n")
        self._connection.finish(self.request.keeps_alive)

    def reset(self) -> None:
        """RST, at once; what was not sent yet is dropped."""
        self._connection.reset()

    def reset_after_flush(self) -> None:
        """RST, once what was written has had the time to reach a reader on the same machine."""
        asyncio.get_running_loop().call_later(_FLUSH_S, self._connection.reset)

    def close(self) -> None:
        """FIN, after what was written."""
        self._connection.close()


Handler = Callable[[Exchange], Coroutine[Any, Any, None] | None]


class Connection(asyncio.Protocol):
    """One client. `handler` answers at once and returns None, or returns the coroutine that will answer."""

    def __init__(self, handler: Handler, open_connections: set["Connection"]) -> None:
        self._handler, self._open = handler, open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._current: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self.can_write = asyncio.Event()
        self.can_write.set()
        self._begin()

    @property
    def is_busy(self) -> bool:
        return self._current is not None

    def _begin(self) -> None:
        self._url, self._headers, self._body = b"", list[Header](), list[bytes]()
        self._num_body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._waiting.clear()
        self.can_write.set()
        if self._current is not None and self._current.when_client_left is not None:
            self._current.when_client_left()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    # What httptools calls.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if (b"expect", b"100-continue") in self._headers:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._num_body_bytes += len(body)
        if self._num_body_bytes > MAX_BODY_BYTES:
            self.reset()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = Request(
            self._parser.get_method().decode(),
            self._url.partition(b"?")[0].decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive(),
        )
        self._begin()
        if self._current is None:
            self._answer(request)
        elif len(self._waiting) < MAX_PIPELINED:
            self._waiting.append(request)
        else:
            self.reset()

    # What an exchange calls.

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def finish(self, keeps_alive: bool) -> None:
        self._current = None
        if not keeps_alive:
            self.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._answer_next)

    def close(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        link = self._transport.get_extra_info("socket")
        if link is not None and not self._transport.is_closing():
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    def _answer_next(self) -> None:
        if self._waiting and self._current is None:
            self._answer(self._waiting.popleft())

    def _answer(self, request: Request) -> None:
        self._current = exchange = Exchange(request, self)
        try:
            answering = self._handler(exchange)
        except Exception:  # noqa: BLE001 - the rim: one request's defect must not end the others
            _log.exception("a defect of the simulator at %s", request.path)
            self.reset()
            return
        if answering is not None:
            self._task = asyncio.get_running_loop().create_task(answering)
            self._task.add_done_callback(self._check)

    def _check(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("a defect of the simulator", exc_info=task.exception())
            self.reset()
