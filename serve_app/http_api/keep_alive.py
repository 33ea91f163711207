"""Comment lines that keep an idle stream's connection open through proxies that end silent ones.

Invariant: a comment never stands inside another frame, and none is sent before the response began or after it ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Message, Send

COMMENT = b": keep-alive\n\n"


class KeptAlive:
    """An ASGI `send` that speaks up by itself after `interval_s` of silence, while `running`."""

    def __init__(self, send: Send, interval_s: float) -> None:
        self._send, self._interval_s = send, interval_s
        self._lock = asyncio.Lock()
        self._has_sent = False

    async def __call__(self, message: Message) -> None:
        async with self._lock:
            self._has_sent = True
            await self._send(message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Owns the task that watches for silence."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # a connection that broke; the next frame tells of it, and asyncio need not

    async def _watch(self) -> None:
        while True:
            self._has_sent = False
            await asyncio.sleep(self._interval_s)
            if not self._has_sent:
                async with self._lock:
                    await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
