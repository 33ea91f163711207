"""A stream as an ASGI response: frames as they come, a typed error when it breaks, no upstream that outlives it."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.contracts.chat import Chunk, StreamRenderer
from serve_app.contracts.ledger import StoredAnswer
from serve_app.errors import GatewayError, InternalError
from serve_app.http_api.leaving import ClientLeft, until_client_leaves
from serve_app.http_api.replay import ReplayGuard
from serve_app.pipeline.dispatch import CommittedStream

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"


class StreamedAnswer(Response):
    """Sends what the renderer makes of a committed stream. `on_end` is told the error that ended it, or None."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        stream: CommittedStream,
        renderer: StreamRenderer,
        headers: Mapping[str, str],
        *,
        guard: ReplayGuard,
        max_kept_bytes: int,
        on_end: Callable[[GatewayError | None], None],
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._stream, self._renderer = stream, renderer
        self._guard, self._on_end = guard, on_end
        self._kept = bytearray()
        self._max_kept_bytes = max_kept_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await until_client_leaves(receive, self._send(send))
        except ClientLeft:
            log.info("client left a stream")
        finally:
            await self._stream.aclose()
            await self._guard.settle(None)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._frames()) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
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
        if not self._guard.is_owner or len(self._kept) > self._max_kept_bytes:
            return
        headers = tuple((name, value) for name, value in self.headers.items() if name.startswith("x-upcoach"))
        await self._guard.settle(StoredAnswer(self.status_code, MEDIA_TYPE, headers, bytes(self._kept)))
