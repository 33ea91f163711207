"""A keep-alive HTTP/1.1 client for measuring: asyncio streams, one connection, no more parsing than a time stamp needs.

Of the clients at hand it adds the least of its own (about 0.1 ms), so the least noise to a difference of some tenths.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

_CONTENT = re.compile(rb'"content":\s*"[^"]')
_DONE = b"data: [DONE]"
_MAX_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one good answer. `ttft_s`: from the first byte sent to the first content token; None for a whole answer."""

    total_s: float
    ttft_s: float | None
    headers: dict[str, str]


class BadAnswer(Exception):
    """A status other than 200, or a stream that was not ended by `[DONE]`."""


class WireClient:
    """One connection, made at the first request and again after a failure."""

    def __init__(self, base_url: str, headers: dict[str, str], timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"only http:// addresses can be measured, not {base_url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._timeout_s = timeout_s
        lines = {"Host": parts.netloc, "Content-Type": "application/json", **headers}
        self._head = (
            f"POST {parts.path.rstrip('/')}/v1/chat/completions HTTP/1.1\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        ).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes) -> Timing:
        """Raises BadAnswer, OSError, EOFError or TimeoutError; the connection is then dropped."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(body)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, body: bytes) -> Timing:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=_MAX_HEAD_BYTES)
        reader, writer = self._streams
        started = time.perf_counter()
        writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body))
        status, headers = await _read_head(reader)
        ttft_s, text = None, b""
        async for piece in _read_body(reader, headers):
            text += piece
            if ttft_s is None and _CONTENT.search(text):
                ttft_s = time.perf_counter() - started
        total_s = time.perf_counter() - started
        if headers.get("connection", "").lower() == "close":
            self.close()
        if status != 200:
            raise BadAnswer(f"status {status}")
        if not headers.get("content-type", "").startswith("text/event-stream"):
            return Timing(total_s, None, headers)
        if ttft_s is None or _DONE not in text[-64:]:
            raise BadAnswer("the stream had no content or no end")
        return Timing(total_s, ttft_s, headers)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        yield await reader.readexactly(int(headers.get("content-length", "0")))
        return
    while num_bytes := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield (await reader.readexactly(num_bytes + 2))[:-2]
    await reader.readuntil(b"\r\n")
