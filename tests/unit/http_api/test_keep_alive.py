"""Comments in a stream's silence, and an end for a client that does not read."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.contracts.vocabulary import Outcome
from serve_app.http_api.keep_alive import COMMENT, KeptAlive
from tests.fakes.asgi import Exchange, exchange
from tests.fakes.chunks import FINISH, ROLE, content
from tests.fakes.gateways import AUTH, FixedClassifier, Stage, a_ledger, chat_body
from tests.fakes.upstreams import HANG, Pause, Script, ScriptedUpstream

CHAT = "/v1/chat/completions"


def framed(*payloads: bytes) -> bytes:
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads)


def stage_with(script: Script, keep_alive_s: float) -> Stage:
    local, cloud, fallback = ScriptedUpstream(script), ScriptedUpstream(), ScriptedUpstream()
    return Stage(local, cloud, fallback, FixedClassifier(0.1), a_ledger(), keep_alive_s=keep_alive_s)


@asynccontextmanager
async def streaming(app: ASGIApp, deadline_ms: int = 4000) -> AsyncIterator[Exchange]:
    headers = {**AUTH, "x-upcoach-deadline-ms": str(deadline_ms)}
    async with exchange(app, "POST", CHAT, headers=headers, parts=[orjson.dumps(chat_body(stream=True))]) as opened:
        yield await opened.started()


async def test_a_comment_comes_after_silence_and_the_frames_stay_whole() -> None:
    stage = stage_with([ROLE, content("a"), Pause(0.13), content("b"), FINISH], keep_alive_s=0.05)
    async with streaming(stage.app) as opened:
        parts = []
        while (part := await opened.next_part()) is not None:
            parts.append(part)
    assert parts == [
        framed(ROLE, content("a")),
        COMMENT,
        COMMENT,
        framed(content("b")),
        framed(FINISH),
        framed(b"[DONE]"),
    ]


async def test_no_comment_comes_while_frames_do() -> None:
    steps = [step for _ in range(20) for step in (Pause(0.01), content("a"))]
    stage = stage_with([ROLE, content("a"), *steps, FINISH], keep_alive_s=0.1)
    async with streaming(stage.app) as opened:
        assert COMMENT not in await opened.body()


async def test_a_comment_is_a_comment_to_whoever_reads_events() -> None:
    assert COMMENT.startswith(b":")
    assert COMMENT.endswith(b"\n\n")
    assert COMMENT.count(b"\n") == 2


class SlowSender:
    """Takes `seconds` for each message, in two parts; what is said in between would stand inside a frame."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.heard: list[str] = []

    async def __call__(self, message: Message) -> None:
        name = "comment" if message["body"] == COMMENT else "frame"
        self.heard.append(f"{name} begins")
        await asyncio.sleep(self.seconds)
        self.heard.append(f"{name} ends")


async def test_a_comment_never_stands_inside_a_frame_that_is_slow_to_leave() -> None:
    send = SlowSender(0.03)
    kept = KeptAlive(send, 0.01)
    async with kept.running():
        for _ in range(3):
            await kept({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
            await asyncio.sleep(0.02)
    begins, ends = send.heard[::2], send.heard[1::2]
    assert [text.split()[0] for text in begins][: len(ends)] == [text.split()[0] for text in ends]
    assert "comment begins" in send.heard


async def test_nothing_is_said_after_the_end() -> None:
    send = SlowSender(0.0)
    kept = KeptAlive(send, 0.005)
    async with kept.running():
        await asyncio.sleep(0.03)
    num_heard = len(send.heard)
    assert num_heard
    await asyncio.sleep(0.03)
    assert len(send.heard) == num_heard


async def test_a_connection_that_breaks_under_a_comment_is_not_shouted_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(message: Message) -> None:
        raise OSError("private words")

    async with KeptAlive(broken, 0.0).running():
        await asyncio.sleep(0.01)
    gc.collect()
    assert "private words" not in caplog.text
    assert "never retrieved" not in caplog.text


def reading_no_more_than(num_messages: int, app: ASGIApp) -> ASGIApp:
    """A client that stops reading, so that nothing more can be sent to it."""

    async def with_client(scope: Scope, receive: Receive, send: Send) -> None:
        num_sent = 0

        async def blocking(message: Message) -> None:
            nonlocal num_sent
            num_sent += 1
            if num_sent > num_messages:
                await asyncio.Event().wait()
            await send(message)

        await app(scope, receive, blocking)

    return with_client


@pytest.mark.parametrize("script", [[content("a")] * 20, [HANG]], ids=["much to read", "nothing more"])
async def test_a_client_that_reads_nothing_is_cut_off_half_a_second_after_its_deadline(script: Script) -> None:
    stage = stage_with([ROLE, content("a"), *script, FINISH], keep_alive_s=60.0)
    started = time.monotonic()
    async with streaming(reading_no_more_than(2, stage.app), deadline_ms=200) as opened:
        await opened.next_part()
        await asyncio.wait_for(asyncio.shield(opened.task), 2.0)
        assert 0.5 < time.monotonic() - started < 1.2
    assert len(stage.attempts) == 1
    assert stage.attempts[0].outcome in (Outcome.CANCELLED, Outcome.TIMED_OUT)
    assert (stage.local.num_running, stage.num_in_flight, stage.saturation.num_in_progress) == (0, 0, 0)


async def test_a_client_that_is_only_slow_to_read_gets_the_whole_answer() -> None:
    stage = stage_with([ROLE, *[content("a")] * 5, FINISH], keep_alive_s=60.0)
    async with streaming(stage.app) as opened:
        received = b""
        while (part := await opened.next_part()) is not None:
            received += part
            await asyncio.sleep(0.02)
    assert received.endswith(b"data: [DONE]\n\n")
    assert stage.attempts[0].outcome is Outcome.COMPLETED
