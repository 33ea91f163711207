"""A network behind the real transport port: what is sent is kept, and the answer is as told."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from serve_app.upstreams.http_transport import HttpResponse, WaitLimits


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    limits: WaitLimits


@dataclass
class Reply:
    """`pieces` come one by one; an exception among them is raised. `is_closed` once the reader is done with it."""

    status: int = 200
    pieces: Sequence[bytes | Exception] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    is_closed: bool = False

    async def parts(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Network:
    """Implements HttpTransport; an exception for an answer is raised before there is any response."""

    def __init__(self, answer: Reply | Exception) -> None:
        self._answer = answer
        self.sent: list[Sent] = []
        self.is_closed = False

    @asynccontextmanager
    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, limits: WaitLimits
    ) -> AsyncIterator[HttpResponse]:
        self.sent.append(Sent(method, url, headers, body, limits))
        if isinstance(self._answer, Exception):
            raise self._answer
        try:
            yield self._answer
        finally:
            self._answer.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True
