"""Nothing of a prompt or an answer, and no key, is in a log, a header or a metric, whatever happens to a request."""

import gc
import logging
from collections.abc import Iterator

import orjson
import pytest

from serve_app.errors import (
    DeadlineExceeded,
    EgressForbidden,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from tests.fakes.asgi import Answer, ask, exchange
from tests.fakes.chunks import FINISH, ROLE, completion, content
from tests.fakes.gateways import AUTH, HARD, KEY, Stage, chat_body, stage_of
from tests.fakes.upstreams import HANG, Script

MARKER = "zebra-in-the-orchard"
SAID = content(MARKER)

PLAIN: dict[str, Script] = {
    "an answer": [completion(MARKER)],
    "unreachable": [UpstreamUnreachable("local", MARKER)],
    "timed out": [UpstreamTimedOut("local", MARKER)],
    "refused": [UpstreamRefused("local", MARKER)],
    "broken": [UpstreamBroken("local", MARKER)],
    "rejected": [UpstreamRejectedRequest("local", "The upstream's own words.")],
    "a deadline": [DeadlineExceeded(MARKER)],
    "egress": [EgressForbidden("local", "cloud")],
    "a defect": [RuntimeError(MARKER)],
    "a defect of another kind": [KeyError(MARKER)],
    "an error in a 200": [orjson.dumps({"error": {"message": MARKER, "code": 503}})],
    "rubbish": [MARKER.encode()],
    "an answer that cannot be read": [orjson.dumps({"choices": [{"message": MARKER}]})],
}
STREAMED: dict[str, Script] = {
    "an answer": [ROLE, SAID, FINISH],
    "an early defect": [RuntimeError(MARKER)],
    "a late defect": [ROLE, SAID, RuntimeError(MARKER)],
    "an early break": [UpstreamBroken("local", MARKER)],
    "a late break": [ROLE, SAID, UpstreamBroken("local", MARKER)],
    "a late error": [ROLE, SAID, orjson.dumps({"error": {"message": MARKER, "code": 503}})],
    "a late refusal": [ROLE, SAID, orjson.dumps({"error": {"message": "No.", "code": 400}})],
    "early rubbish": [MARKER.encode()],
    "late rubbish": [ROLE, SAID, MARKER.encode()],
    "an end without a finish": [ROLE, SAID],
}
MESSAGES = [{"role": "user", "content": MARKER}]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything that any logger said during the test, down to DEBUG, is checked after it."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("tests").debug("the log is read")
        yield
        gc.collect()  # what asyncio has to say of errors that nobody took, it says now
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    assert [record for record in records if record.name == "tests"]
    told = [f"{caplog.handler.format(record)} {vars(record)}" for record in records]
    assert not any(MARKER in text or KEY in text for text in told)


async def check(stage: Stage, answer: Answer, *, may_answer: bool) -> None:
    told = [*answer.headers.values()] + ([] if may_answer else [answer.body.decode()])
    assert not any(MARKER in text or KEY in text for text in told)
    metrics = await ask(stage.app, "GET", "/metrics")
    assert MARKER.encode() not in metrics.body
    assert KEY.encode() not in metrics.body


@pytest.mark.parametrize("script", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
async def test_a_plain_request_however_it_ends(path: str, script: Script) -> None:
    stage = stage_of(local=script, cloud=script, fallback=script)
    field = {"/v1/responses": "input", "/v1/completions": "prompt"}.get(path, "messages")
    said = MESSAGES if field == "messages" else MARKER
    answer = await stage.post(path, {"model": "auto", field: said, "user": MARKER}, idempotency_key="k-1")
    # Only an answer may hold what an upstream said; a Response repeats its caller's own words.
    await check(stage, answer, may_answer=answer.status == 200)


@pytest.mark.parametrize("script", STREAMED.values(), ids=STREAMED)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_stream_however_it_ends(path: str, script: Script) -> None:
    stage = stage_of(local=script, cloud=script, fallback=script)
    said = {"messages": MESSAGES} if path.endswith("completions") else {"input": MARKER}
    answer = await stage.post(path, {"model": "auto", "stream": True, **said})
    await check(stage, answer, may_answer=answer.status == 200)
    errors = [part for part in answer.body.split(b"\n\n") if part.startswith(b"event: error")]
    assert not any(MARKER.encode() in error for error in errors)


@pytest.mark.parametrize(
    "raw",
    [
        MARKER.encode(),
        orjson.dumps({"model": MARKER, "messages": MESSAGES}),
        orjson.dumps({"model": "auto", "messages": MARKER}),
        orjson.dumps({"model": "auto", "messages": [{"role": MARKER, "content": MARKER}]}),
        orjson.dumps({"model": "auto", "messages": MESSAGES, "temperature": MARKER}),
        orjson.dumps({"model": "auto", "messages": MESSAGES, "response_format": {"type": MARKER}}),
        orjson.dumps({"model": "auto", "messages": MESSAGES, "metadata": {MARKER: 7}}),
        orjson.dumps({"model": "auto", "messages": [{"role": "user", "content": MARKER * 1000}]}),
        orjson.dumps({"model": "auto", "messages": [{"role": "user", "content": MARKER * 400}]}),
    ],
)
async def test_a_request_that_is_refused(raw: bytes) -> None:
    stage = stage_of()
    answer = await stage.post("/v1/chat/completions", raw)
    assert answer.status >= 400
    await check(stage, answer, may_answer=False)


async def test_a_forbidden_request_and_its_decision() -> None:
    stage = stage_of(complexity=HARD)
    confidential = {"X-Upcoach-Data-Class": "confidential"}
    await check(stage, await stage.chat(confidential, model="cloud", messages=MESSAGES), may_answer=False)
    await check(stage, await stage.post("/v1/route", chat_body(messages=MESSAGES)), may_answer=False)


@pytest.mark.parametrize("name", ["X-Upcoach-Tier", "X-Upcoach-Data-Class", "X-Upcoach-Deadline-Ms", "Authorization"])
async def test_a_header_that_is_refused(name: str) -> None:
    stage = stage_of()
    answer = await ask(stage.app, "POST", "/v1/chat/completions", headers={**AUTH, name.lower(): MARKER}, parts=[b"{}"])
    assert answer.status in (400, 401)
    await check(stage, answer, may_answer=False)


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_client_that_leaves_an_upstream_which_then_fails_in_its_own_way(is_streaming: bool) -> None:
    stage = stage_of(local=[ROLE, HANG] if is_streaming else [HANG])
    stage.local.cancel_error = RuntimeError(MARKER)
    parts = [orjson.dumps(chat_body(messages=MESSAGES, stream=is_streaming))]
    async with exchange(stage.app, "POST", "/v1/chat/completions", headers=AUTH, parts=parts) as opened:
        await stage.local.has_begun.wait()
        await opened.leave()
    assert stage.num_in_flight == 0
    assert len(stage.attempts) == 1
