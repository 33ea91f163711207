"""A client of an ASGI application without a socket: one body part at a time in, one message at a time out.

Unlike httpx's own transport it buffers nothing, and it can leave in the middle.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.types import ASGIApp, Message

WAIT_LIMIT_S = 5.0


class Exchange:
    """One request and its answer. `num_parts_read` says how much of the body the application asked for.

    With `is_cut` the body announces more than its parts, and no more comes. `send_error` is raised when the application
    sends, as where the connection is broken.
    """

    def __init__(self, app: ASGIApp, scope: dict[str, Any], parts: Sequence[bytes], *, is_cut: bool) -> None:
        self._parts, self._is_cut = list(parts), is_cut
        self.send_error: Exception | None = None
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._has_left, self._has_ended = asyncio.Event(), asyncio.Event()
        self.num_parts_read, self.has_read = 0, asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if self._has_left.is_set():
            return {"type": "http.disconnect"}
        if self.num_parts_read < len(self._parts):
            part = self._parts[self.num_parts_read]
            self.num_parts_read += 1
            self.has_read.set()
            has_more = self._is_cut or self.num_parts_read < len(self._parts)
            return {"type": "http.request", "body": part, "more_body": has_more}
        ends = [asyncio.ensure_future(event.wait()) for event in (self._has_left, self._has_ended)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.send_error is not None:
            raise self.send_error
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._has_ended.set()
        await self._messages.put(message)

    async def started(self) -> "Exchange":
        """Waits for the status and the headers."""
        message = await self._next()
        assert message["type"] == "http.response.start"
        self.status = message["status"]
        self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        return self

    async def next_part(self) -> bytes | None:
        """The next part of the answer's body; None after the last."""
        message = await self._next()
        assert message["type"] == "http.response.body"
        return None if not message.get("more_body", False) and not message.get("body") else message["body"]

    async def body(self) -> bytes:
        """What is left of the answer's body; waits until the application has returned."""
        parts = []
        while True:
            message = await self._next()
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        await asyncio.wait_for(asyncio.shield(self.task), WAIT_LIMIT_S)
        return b"".join(parts)

    async def leave(self) -> None:
        """The client closes its connection; returns when the application has."""
        self._has_left.set()
        await asyncio.wait_for(asyncio.shield(self.task), WAIT_LIMIT_S)

    async def _next(self) -> Message:
        getter = asyncio.ensure_future(self._messages.get())
        await asyncio.wait((getter, self.task), timeout=WAIT_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        if getter.done():
            return getter.result()
        if not self._messages.empty():
            return await getter
        getter.cancel()
        if self.task.done():
            self.task.result()
        raise AssertionError("the application sent nothing more")


@asynccontextmanager
async def exchange(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    parts: Sequence[bytes] = (b"",),
    is_cut: bool = False,
) -> AsyncIterator[Exchange]:
    """A request on its way; what still runs at the end is cancelled."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 40000),
        "server": ("gateway.test", 80),
    }
    open_exchange = Exchange(app, scope, parts, is_cut=is_cut)
    try:
        yield open_exchange
    finally:
        open_exchange.task.cancel()
        await asyncio.wait((open_exchange.task,))


class Answer:
    """A whole answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer that is nothing but an error in OpenAI's shape."""
        assert set(self.json) == {"error"}
        found: dict[str, Any] = self.json["error"]
        assert set(found) == {"message", "type", "code", "param"}
        return found


async def ask(
    app: ASGIApp, method: str, path: str, *, headers: Mapping[str, str] | None = None, parts: Sequence[bytes] = (b"",)
) -> Answer:
    async with exchange(app, method, path, headers=headers, parts=parts) as opened:
        await opened.started()
        body = await opened.body()
        return Answer(opened.status, opened.headers, body)
