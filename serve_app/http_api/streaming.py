"""A stream as an ASGI response: frames as they come, a typed error when it breaks, no upstream that outlives it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.contracts.chat import Chunk, StreamRenderer
from serve_app.contracts.ledger import StoredAnswer
from serve_app.errors import GatewayError, InternalError
from serve_app.http_api.gateway import HttpLimits
from serve_app.http_api.keep_alive import KeptAlive
from serve_app.http_api.leaving import ClientLeft, until_client_leaves
from serve_app.http_api.replay import ReplayGuard
from serve_app.pipeline.committed import CommittedStream

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
LAST_WORDS_S = 0.5
"""Past the deadline, to tell a client of it. One that reads nothing at all is cut off then."""


class StreamedAnswer(Response):
    """Sends what the renderer makes of a committed stream.

    `on_end` is told the error that ended it, or None; `on_close` is called last, whatever happened. After
    `limits.keep_alive_s` without a frame a comment line is sent.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        stream: CommittedStream,
        renderer: StreamRenderer,
        headers: Mapping[str, str],
        *,
        guard: ReplayGuard,
        limits: HttpLimits,
        on_end: Callable[[GatewayError | None], None],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._stream, self._renderer = stream, renderer
        self._guard, self._on_end, self._on_close = guard, on_end, on_close
        self._keep_alive_s, self._max_kept_bytes = limits.keep_alive_s, limits.max_kept_answer_bytes
        self._kept = bytearray()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._stream.deadline.remaining_s() + LAST_WORDS_S):
                await until_client_leaves(receive, self._send(send))
        except ClientLeft:
            log.info("client left a stream")
        except TimeoutError:
            # Returning with the body unfinished makes the server close the connection.
            log.warning("a client read too slowly for its deadline")
        finally:
            try:
                await self._stream.aclose()
                await self._guard.settle(None)
            finally:
                self._on_close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        kept = KeptAlive(send, self._keep_alive_s)
        async with kept.running(), aclosing(self._frames()) as frames:
            async for frame in frames:
                await kept({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._stream.chunks()) as batches:
                async for chunks in batches:
                    frames = self._render(chunks)
                    if frames:
                        yield self._keep(frames)
            last = self._keep(self._renderer.finish())
            # Before the end is sent: a client that leaves on reading it must not undo what was kept.
            await self._settle()
            yield last
        except GatewayError as error:
            self._on_end(error)
            yield self._renderer.fail(error)
            return
        except Exception as error:  # noqa: BLE001 - the ingress rim: a stream ends with a typed error, whatever broke
            log.error("stream failed: %s", type(error).__name__)  # noqa: TRY400 - its text may be private
            self._on_end(InternalError())
            yield self._renderer.fail(InternalError())
            return
        self._on_end(None)

    def _render(self, chunks: list[Chunk]) -> bytes:
        return b"".join([self._renderer.feed(chunk) for chunk in chunks])

    def _keep(self, frames: bytes) -> bytes:
        if self._guard.is_owner and len(self._kept) <= self._max_kept_bytes:
            self._kept += frames
        return frames

    async def _settle(self) -> None:
        """Also of an answer too large to be kept: its key is used up, and never runs a second time."""
        if not self._guard.is_owner:
            return
        headers = tuple((name, value) for name, value in self.headers.items() if name.startswith("x-upcoach"))
        await self._guard.settle(StoredAnswer(self.status_code, MEDIA_TYPE, headers, bytes(self._kept)))
