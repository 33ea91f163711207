"""The transport to providers over real sockets: what the network does, by its name."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from serve_app.upstreams.http_transport import (
    AiohttpTransport,
    CannotConnect,
    ConnectionLost,
    WaitedTooLong,
    WaitLimits,
)
from tests.fakes.in_process import Providers
from tests.fakes.processes import free_port

LIMITS = WaitLimits(connect_s=1.0, idle_s=0.3)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(max_connections=1)
    yield made
    await made.aclose()


async def post(transport: AiohttpTransport, url: str, fault: str | None = None, **changes: object) -> tuple[int, bytes]:
    headers = {"content-type": "application/json"} | ({"x-sim-fault": fault} if fault else {})
    body = orjson.dumps({**CHAT, **changes})
    async with transport.send("POST", url, headers=headers, body=body, limits=LIMITS) as response:
        return response.status, b"".join([part async for part in response.parts()])


async def test_an_answer_comes_with_status_and_body(transport: AiohttpTransport, providers: Providers) -> None:
    status, body = await post(transport, f"{providers.cloud.url}/v1/chat/completions")
    assert status == 200
    assert orjson.loads(body)["choices"]


async def test_nobody_listening_cannot_connect(transport: AiohttpTransport) -> None:
    with pytest.raises(CannotConnect):
        await post(transport, f"http://127.0.0.1:{free_port()}/v1")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("hang", WaitedTooLong), ("stall_after_n; n=2", WaitedTooLong), ("refuse", ConnectionLost),
     ("die_after_n; n=2", ConnectionLost), ("die_before_first", ConnectionLost)],
)  # fmt: skip
async def test_troubles_are_told_apart(
    transport: AiohttpTransport, providers: Providers, fault: str, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        await post(transport, f"{providers.cloud.url}/v1/chat/completions", fault, stream=True)


async def test_a_pool_whose_connections_are_all_taken_is_waited_for_no_longer_than_allowed(
    transport: AiohttpTransport, providers: Providers
) -> None:
    url = f"{providers.cloud.url}/v1/chat/completions"
    headers = {"content-type": "application/json", "x-sim-fault": "never_finish"}
    body = orjson.dumps({**CHAT, "stream": True})
    async with transport.send("POST", url, headers=headers, body=body, limits=LIMITS):
        with pytest.raises(CannotConnect):
            await post(transport, url)
    assert (await post(transport, url))[0] == 200


async def test_a_redirect_is_an_answer_and_not_followed(transport: AiohttpTransport) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await post(transport, f"http://127.0.0.1:{port}/v1"))[0] == 307


async def test_a_proxy_named_in_the_environment_is_not_used(
    transport: AiohttpTransport, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await post(transport, f"{providers.cloud.url}/v1/chat/completions"))[0] == 200
