"""The same Idempotency-Key and body get the same answer, and the upstream is asked once."""

import asyncio

import orjson
import pytest

from serve_app.contracts.ledger import StoredAnswer
from serve_app.errors import UpstreamBroken, UpstreamUnreachable
from tests.fakes.asgi import exchange
from tests.fakes.chunks import FINISH, ROLE, completion, content
from tests.fakes.gateways import AUTH, KEY, LEDGER_BOUNDS, LOCAL_KEY, MAX_KEPT_ANSWER_BYTES, chat_body, stage_of
from tests.fakes.ledgers import MemoryLedger
from tests.fakes.upstreams import HANG, Script

CHAT = "/v1/chat/completions"
KEYED = {"Idempotency-Key": "k-1"}


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_the_second_request_is_given_the_first_ones_answer(is_streaming: bool) -> None:
    stage = stage_of(is_streaming=is_streaming)
    first = await stage.chat(KEYED, stream=is_streaming)
    second = await stage.chat({**KEYED, "X-Request-Id": "again"}, stream=is_streaming)
    assert (first.status, second.status, second.body) == (200, 200, first.body)
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["x-upcoach-replayed"] == "true"
    assert "x-upcoach-replayed" not in first.headers
    assert second.headers["x-request-id"] == "again"
    for name in ("x-upcoach-tier", "x-upcoach-upstream", "x-upcoach-model", "x-upcoach-attempts"):
        assert second.headers[name] == first.headers[name]
    assert len(stage.local.calls) == len(stage.attempts) == 1


async def test_without_a_key_every_request_is_its_own() -> None:
    stage = stage_of()
    await stage.chat()
    await stage.chat()
    assert len(stage.local.calls) == 2


async def test_the_same_key_with_another_body_is_a_409() -> None:
    stage = stage_of()
    await stage.chat(KEYED)
    answer = await stage.chat(KEYED, temperature=1)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (409, "idempotency_conflict", "caller_error")
    assert len(stage.local.calls) == 1


async def test_the_same_key_and_body_on_another_route_is_a_409() -> None:
    stage = stage_of()
    body = {"model": "auto", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}]}
    assert (await stage.post(CHAT, body, idempotency_key="k-1")).status == 200
    assert (await stage.post("/v1/completions", body, idempotency_key="k-1")).status == 409


async def test_another_tenants_key_is_another_key() -> None:
    stage = stage_of()
    await stage.chat(KEYED, model="local")
    await stage.chat({**KEYED, "authorization": f"Bearer {LOCAL_KEY}"}, model="local")
    assert KEY != LOCAL_KEY
    assert len(stage.local.calls) == 2


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_while_the_first_runs_the_second_is_told_to_come_back(is_streaming: bool) -> None:
    stage = stage_of(local=[ROLE, content("x"), HANG] if is_streaming else [HANG])
    raw = orjson.dumps(chat_body(stream=is_streaming))
    async with exchange(stage.app, "POST", CHAT, headers={**AUTH, **KEYED}, parts=[raw]) as first:
        await stage.local.has_begun.wait()
        second = await stage.post(CHAT, raw, idempotency_key="k-1")
        assert (second.status, second.error["code"]) == (409, "idempotency_in_progress")
        assert second.headers["retry-after"] == "1"
        await first.leave()
    assert len(stage.local.calls) == 1


FAILURES: dict[str, Script] = {
    "an upstream's failure": [UpstreamBroken("local", "x")],
    "an unreachable upstream": [UpstreamUnreachable("local", "x")],
    "a defect": [RuntimeError("x")],
}


@pytest.mark.parametrize("is_streaming", [False, True])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_a_request_that_failed_may_be_made_again(failure: Script, is_streaming: bool) -> None:
    stage = stage_of(local=failure)
    headers = {**KEYED, "X-Upcoach-Data-Class": "confidential"}
    assert (await stage.chat(headers, stream=is_streaming)).status >= 500
    answer = await stage.chat(headers, stream=is_streaming)
    assert answer.status != 409
    assert "x-upcoach-replayed" not in answer.headers


async def test_a_refusal_of_the_gateways_own_keeps_no_claim() -> None:
    stage = stage_of()
    for _ in range(2):
        assert (await stage.chat({**KEYED, "X-Upcoach-Data-Class": "confidential"}, model="cloud")).status == 403


async def test_a_stream_that_broke_may_be_made_again_and_is_not_replayed() -> None:
    stage = stage_of(local=[ROLE, content("x"), UpstreamBroken("local", "x")])
    for num_calls in (1, 2):
        answer = await stage.chat(KEYED, stream=True)
        assert b"event: error" in answer.body
        assert len(stage.local.calls) == num_calls


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_client_that_left_may_come_back(is_streaming: bool) -> None:
    stage = stage_of(local=[ROLE, content("x"), HANG] if is_streaming else [HANG])
    raw = orjson.dumps(chat_body(stream=is_streaming))
    for num_calls in (1, 2):
        stage.local.has_begun.clear()
        async with exchange(stage.app, "POST", CHAT, headers={**AUTH, **KEYED}, parts=[raw]) as opened:
            await asyncio.wait_for(stage.local.has_begun.wait(), 5.0)
            assert len(stage.local.calls) == num_calls
            if is_streaming:
                await opened.started()
            await opened.leave()


class DistantLedger(MemoryLedger):
    """Takes its time to keep an answer, as one behind a Serve handle does."""

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        await asyncio.sleep(0.01)
        await super().keep_answer(tenant_id, key, body_digest, answer)


async def test_a_client_that_leaves_on_reading_the_end_of_a_stream_does_not_undo_what_was_kept() -> None:
    """As the official client does: it closes the connection at `[DONE]`."""
    stage = stage_of(is_streaming=True, ledger=DistantLedger(LEDGER_BOUNDS))
    raw = orjson.dumps(chat_body(stream=True))
    async with exchange(stage.app, "POST", CHAT, headers={**AUTH, **KEYED}, parts=[raw]) as opened:
        await opened.started()
        while b"[DONE]" not in (await opened.next_part() or b""):
            pass
        await opened.leave()
    answer = await stage.post(CHAT, raw, idempotency_key="k-1")
    assert answer.headers.get("x-upcoach-replayed") == "true"
    assert len(stage.local.calls) == 1


@pytest.mark.parametrize("num_pieces", [None, 1, 100], ids=["plain", "one frame", "many frames"])
async def test_an_answer_too_large_to_keep_is_given_and_neither_replayed_nor_billed_twice(
    num_pieces: int | None,
) -> None:
    text = "x" * (2 * MAX_KEPT_ANSWER_BYTES)
    pieces = [content(text[: len(text) // (num_pieces or 1)])] * (num_pieces or 1)
    stage = stage_of(local=[ROLE, *pieces, FINISH] if num_pieces else [completion(text)])
    first = await stage.chat(KEYED, stream=num_pieces is not None)
    assert first.status == 200
    assert first.body.count(b"x") >= len(text)
    again = await stage.chat(KEYED, stream=num_pieces is not None)
    assert (again.status, again.error["code"]) == (409, "idempotency_answer_gone")
    assert len(stage.local.calls) == 1
