"""The simulator's own HTTP, fed by hand over a transport that only writes down."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from loadtests.simulator.wire import MAX_BODY_BYTES, MAX_PIPELINED, Connection, Exchange, Handler

ASK = b"POST /v1/x?q=1 HTTP/1.1\r\nHost: s\r\nX-Thing: A\r\nContent-Length: 2\r\n\r\n{}"


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted


def connect(handler: Handler) -> tuple[Connection, FakeTransport]:
    connection, transport = Connection(handler, set()), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


def say_ok(exchange: Exchange) -> None:
    exchange.respond(200, b"ok")


def waiting_for(gate: asyncio.Event, tell: Callable[[str], None]) -> Handler:
    """A handler that answers when the gate opens, and tells how that ended."""

    async def answer(exchange: Exchange) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            tell("cancelled")
            raise
        exchange.respond(200, b"ok")
        tell("answered")

    def handle(exchange: Exchange) -> Coroutine[Any, Any, None]:
        exchange.when_client_left = lambda: tell("client left")
        return answer(exchange)

    return handle


async def test_a_request_is_read_whatever_pieces_it_comes_in() -> None:
    seen: list[Exchange] = []
    connection, _ = connect(seen.append)
    for at in range(len(ASK)):
        connection.data_received(ASK[at : at + 1])
    (exchange,) = seen
    assert (exchange.request.method, exchange.request.path, exchange.request.body) == ("POST", "/v1/x", b"{}")
    assert exchange.request.header(b"x-thing") == "A"
    assert exchange.request.header(b"x-other") is None


async def test_what_answers_is_cancelled_when_its_client_leaves() -> None:
    told: list[str] = []
    connection, _ = connect(waiting_for(asyncio.Event(), told.append))
    connection.data_received(ASK)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert told == ["client left", "cancelled"]


async def test_a_client_that_leaves_after_its_answer_has_left_nothing() -> None:
    told: list[str] = []
    gate = asyncio.Event()
    gate.set()
    connection, transport = connect(waiting_for(gate, told.append))
    connection.data_received(ASK)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    assert told == ["answered"]
    assert transport.written.endswith(b"\r\n\r\nok")


async def test_requests_sent_ahead_wait_and_only_so_many_may() -> None:
    told: list[str] = []
    connection, transport = connect(waiting_for(asyncio.Event(), told.append))
    connection.data_received(ASK * (1 + MAX_PIPELINED))
    assert not transport.is_aborted
    connection.data_received(ASK)
    assert transport.is_aborted


async def test_a_body_over_the_limit_ends_the_connection() -> None:
    connection, transport = connect(say_ok)
    connection.data_received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"%x\r\n%b\r\n" % (2**20, b"x" * 2**20)
    for _ in range(MAX_BODY_BYTES // 2**20 + 1):
        connection.data_received(piece)
    assert transport.is_aborted
    assert transport.written == b""


async def test_the_connection_is_kept_unless_the_client_wants_it_closed() -> None:
    connection, transport = connect(say_ok)
    connection.data_received(ASK)
    assert not transport.is_closed
    connection.data_received(ASK.replace(b"Host: s", b"Connection: close"))
    assert transport.is_closed


async def test_what_is_not_http_closes_the_connection() -> None:
    connection, transport = connect(say_ok)
    connection.data_received(b"\x00\x01 nonsense\r\n\r\n")
    assert transport.is_closed


async def test_a_client_that_waits_for_a_go_ahead_gets_one() -> None:
    connection, transport = connect(say_ok)
    connection.data_received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"{}")
    assert transport.written.endswith(b"ok")


async def test_a_defect_ends_one_connection_and_is_logged(caplog: Any) -> None:
    def fail(_: Exchange) -> None:
        raise LookupError

    async def fail_later() -> None:
        raise LookupError

    for handler in (fail, lambda _: fail_later()):
        connection, transport = connect(handler)
        connection.data_received(ASK)
        await asyncio.sleep(0.01)
        assert transport.is_aborted
    assert caplog.text.count("a defect of the simulator") == 2
