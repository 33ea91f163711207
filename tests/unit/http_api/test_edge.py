"""The outermost layer, around an application that stands for Serve."""

from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.http_api.edge import Edge


class Framework:
    """Answers like Serve does: it appends its own X-Request-ID, and words its own errors as plain text."""

    def __init__(self, status: int = 200, media_type: str = "application/json", **headers: str) -> None:
        self._status, self._media_type, self._headers = status, media_type, headers
        self.seen: dict[bytes, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen = dict(scope["headers"])
        raw = [(b"content-type", self._media_type.encode()), (b"x-request-id", b"inner")]
        raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in self._headers.items()]
        raw.append((b"X-Request-ID", b"framework"))
        await send({"type": "http.response.start", "status": self._status, "headers": raw})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await send({"type": "http.response.body", "body": b"second", "more_body": False})


async def answer_of(
    framework: Framework, *headers: tuple[bytes, bytes]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "headers": list(headers), "path": "/", "method": "GET"}
    await Edge(framework)(scope, receive, send)
    return sent[0]["status"], sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize(
    "header", [b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id"]
)
async def test_what_only_the_framework_may_be_told_does_not_reach_it(header: bytes) -> None:
    framework = Framework()
    await answer_of(framework, (header, b"?1"), (b"authorization", b"Bearer x"))
    assert header not in framework.seen
    assert framework.seen[b"authorization"] == b"Bearer x"


async def test_an_answer_carries_its_requests_id_once() -> None:
    status, headers, body = await answer_of(Framework(), (b"x-request-id", b"mine"))
    assert (status, body) == (200, b"firstsecond")
    assert [value for name, value in headers if name.lower() == b"x-request-id"] == [b"mine"]


async def test_an_id_that_may_not_stand_in_a_log_is_replaced_before_anybody_sees_it() -> None:
    framework = Framework()
    await answer_of(framework, (b"x-request-id", b"a b\x01c"))
    assert framework.seen[b"x-request-id"].isalnum()


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [(503, 503, "gateway_saturated"), (408, 504, "deadline_exceeded"), (404, 404, "unknown_path"),
     (500, 500, "internal_error"), (429, 503, "gateway_saturated")],
)  # fmt: skip
async def test_an_error_of_the_framework_gets_openais_shape(status: int, expected: int, code: str) -> None:
    got, headers, body = await answer_of(Framework(status, "text/plain; charset=utf-8"))
    assert got == expected
    assert orjson.loads(body)["error"]["code"] == code
    assert (b"content-type", b"application/json") in headers
    assert any(name == b"retry-after" for name, _ in headers) == (expected == 503)


async def test_the_frameworks_own_retry_after_is_kept() -> None:
    _, headers, _ = await answer_of(Framework(503, "text/plain", retry_after="7"))
    assert (b"retry-after", b"7") in headers


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream; charset=utf-8"])
async def test_an_error_of_our_own_passes_as_it_is(media_type: str) -> None:
    status, _, body = await answer_of(Framework(503, media_type))
    assert (status, body) == (503, b"firstsecond")
