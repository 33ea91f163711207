"""Streamed answers: frames as they come, a typed error when they break, and an end when the client leaves."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from serve_app.contracts.vocabulary import Outcome
from serve_app.errors import UpstreamBroken
from tests.fakes.asgi import Exchange, exchange
from tests.fakes.chunks import FINISH, ROLE, USAGE, WHOLE_STREAM, content
from tests.fakes.gateways import AUTH, Stage, chat_body, stage_of
from tests.fakes.upstreams import HANG, Pause, Script

CHAT = "/v1/chat/completions"


def framed(*payloads: bytes) -> bytes:
    return b"".join(b"data: " + payload + b"\n\n" for payload in payloads)


@asynccontextmanager
async def streaming(stage: Stage, path: str = CHAT, headers: Any = None, **body: Any) -> AsyncIterator[Exchange]:
    whole = {"stream": True, **(body if path != CHAT else chat_body(**body))}
    parts = [orjson.dumps(whole)]
    async with exchange(stage.app, "POST", path, headers={**AUTH, **(headers or {})}, parts=parts) as opened:
        yield await opened.started()


async def test_a_stream_leaves_as_it_came_and_ends_with_done() -> None:
    stage = stage_of(is_streaming=True)
    async with streaming(stage, stream_options={"include_usage": True}) as opened:
        assert opened.status == 200
        assert await opened.body() == framed(*WHOLE_STREAM, b"[DONE]")
    assert opened.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert opened.headers["cache-control"] == "no-cache"
    assert "content-length" not in opened.headers
    assert opened.headers["x-upcoach-tier"] == "LOCAL_FAST"
    assert opened.headers["x-upcoach-attempts"] == "1"
    assert [row.outcome for row in stage.attempts] == [Outcome.COMPLETED]
    assert stage.num_in_flight == 0


async def test_the_usage_that_nobody_asked_for_is_counted_and_kept_back() -> None:
    stage = stage_of(is_streaming=True)
    async with streaming(stage) as opened:
        assert await opened.body() == framed(*WHOLE_STREAM[:-1], b"[DONE]")
    assert stage.attempts[0].usage.num_output_tokens == 3


async def test_each_token_leaves_before_the_next_has_come() -> None:
    stage = stage_of(local=[ROLE, content("a"), Pause(0.03), content("b"), HANG])
    async with streaming(stage) as opened:
        assert await opened.next_part() == framed(ROLE, content("a"))
        started = time.monotonic()
        assert await opened.next_part() == framed(content("b"))
        assert 0.01 < time.monotonic() - started < 2.0


async def test_headers_come_only_with_the_first_content() -> None:
    """So that a dead upstream can still be exchanged, and its failure still has a status."""
    stage = stage_of(local=[ROLE, UpstreamBroken("local", "x")], is_streaming=True)
    async with streaming(stage, stream_options={"include_usage": True}) as opened:
        assert opened.headers["x-upcoach-attempts"] == "2"
        assert opened.headers["x-upcoach-upstream"] == "cloud"
        assert await opened.body() == framed(*WHOLE_STREAM, b"[DONE]")


BREAKS: dict[str, Script] = {
    "dies": [UpstreamBroken("local", "ReadError")],
    "sends an error": [orjson.dumps({"error": {"message": "overloaded", "code": 503}})],
    "sends rubbish": [b"\x00"],
    "just ends": [],
}


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
async def test_a_stream_that_breaks_ends_with_a_typed_error_and_with_no_false_end(script: Script) -> None:
    stage = stage_of(local=[ROLE, content("Hel"), *script])
    async with streaming(stage) as opened:
        body = await opened.body()
    assert body.startswith(framed(ROLE, content("Hel")))
    assert b"[DONE]" not in body
    assert b'"finish_reason":"stop"' not in body
    event = body.removeprefix(framed(ROLE, content("Hel")))
    assert event.startswith(b"event: error\ndata: ")
    error = orjson.loads(event.removeprefix(b"event: error\ndata: "))["error"]
    assert error["type"] == "upstream_error"
    assert error["code"] in ("upstream_broken", "upstream_refused")
    assert stage.cloud.calls == []
    assert [row.outcome for row in stage.attempts] == [Outcome.FAILED]
    assert stage.num_in_flight == 0


async def test_a_defect_within_a_stream_is_an_error_that_tells_nothing() -> None:
    stage = stage_of(local=[ROLE, content("Hel"), RuntimeError("private words")])
    async with streaming(stage) as opened:
        body = await opened.body()
    assert b'"code":"internal_error"' in body
    assert b"private" not in body
    assert b"[DONE]" not in body


async def test_a_deadline_within_a_stream_is_told_as_such() -> None:
    stage = stage_of(local=[ROLE, content("Hel"), HANG])
    async with streaming(stage, headers={"X-Upcoach-Deadline-Ms": "250"}) as opened:
        body = await opened.body()
    assert b'"code":"deadline_exceeded"' in body
    assert [row.outcome for row in stage.attempts] == [Outcome.TIMED_OUT]
    assert stage.num_in_flight == 0


async def test_a_broken_response_stream_fails_in_its_own_words() -> None:
    stage = stage_of(local=[ROLE, content("Hel"), UpstreamBroken("local", "x")])
    async with streaming(stage, "/v1/responses", model="auto", input="hi") as opened:
        body = await opened.body()
    assert b"event: response.failed" in body
    assert b"response.completed" not in body


@pytest.mark.parametrize("moment", ["before the first content", "within the stream"])
async def test_a_client_that_leaves_ends_the_upstream(moment: str) -> None:
    is_early = moment == "before the first content"
    stage = stage_of(local=[ROLE, HANG] if is_early else [ROLE, content("abcd"), HANG])
    parts = [orjson.dumps(chat_body(stream=True))]
    async with exchange(stage.app, "POST", CHAT, headers=AUTH, parts=parts) as opened:
        await stage.local.has_begun.wait()
        if not is_early:
            await opened.started()
            await opened.next_part()
        started = time.monotonic()
        await opened.leave()
        assert time.monotonic() - started < 1.0
    assert [row.outcome for row in stage.attempts] == [Outcome.CANCELLED]
    assert (stage.local.num_running, stage.num_in_flight) == (0, 0)
    assert stage.cloud.calls == []


async def test_a_client_that_leaves_at_any_moment_leaves_nothing_open() -> None:
    script: Script = [ROLE, *[content("x")] * 10, FINISH, USAGE]
    for num_turns in range(0, 60, 3):
        stage = stage_of(local=script)
        parts = [orjson.dumps(chat_body(stream=True))]
        async with exchange(stage.app, "POST", CHAT, headers=AUTH, parts=parts) as opened:
            for _ in range(num_turns):
                await asyncio.sleep(0)
            await opened.leave()
        assert len(stage.attempts) == len(stage.local.calls)
        assert (stage.local.num_running, stage.num_in_flight) == (0, 0)


async def test_a_server_that_cancels_at_any_moment_leaves_nothing_open() -> None:
    """Serve cancels the request's task, where uvicorn only tells that the client has left."""
    script: Script = [ROLE, *[content("x")] * 10, FINISH, USAGE]
    for num_turns in range(60):
        stage = stage_of(local=script)
        parts = [orjson.dumps(chat_body(stream=True))]
        async with exchange(stage.app, "POST", CHAT, headers=AUTH, parts=parts) as opened:
            for _ in range(num_turns):
                await asyncio.sleep(0)
            opened.task.cancel()
            await asyncio.wait([opened.task])
        assert len(stage.attempts) == len(stage.local.calls), num_turns
        assert (stage.local.num_running, stage.num_in_flight) == (0, 0), num_turns


async def test_a_client_whose_connection_breaks_as_it_is_sent_its_answer_ends_the_upstream() -> None:
    stage = stage_of(local=[ROLE, content("x"), HANG])
    parts = [orjson.dumps(chat_body(stream=True))]
    async with exchange(stage.app, "POST", CHAT, headers=AUTH, parts=parts) as opened:
        opened.send_error = OSError("broken pipe")
        with pytest.raises(OSError, match="broken pipe"):
            await opened.task
    assert [row.outcome for row in stage.attempts] == [Outcome.CANCELLED]
    assert (stage.local.num_running, stage.num_in_flight) == (0, 0)
