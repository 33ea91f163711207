"""Every request is admitted once, tells its limits, and gives its place back on every way out."""

import asyncio

import orjson
import pytest
from starlette.responses import Response

from serve_app.errors import UpstreamBroken, UpstreamCold, UpstreamRejectedRequest
from tests.fakes.asgi import Answer, ask, exchange
from tests.fakes.chunks import FINISH, ROLE, completion, content
from tests.fakes.gateways import AUTH, HARD, LIMITED_KEY, Stage, chat_body, stage_of
from tests.fakes.upstreams import HANG, Script

CHAT = "/v1/chat/completions"
LIMITED_AUTH = {"authorization": f"Bearer {LIMITED_KEY}"}
BOTH_WAYS = pytest.mark.parametrize("is_streaming", [False, True])


def check_all_left(stage: Stage) -> None:
    assert stage.saturation.num_in_progress == 0
    assert stage.wallet.num_held == 0
    assert stage.num_in_flight == 0


@BOTH_WAYS
async def test_an_answer_tells_the_tenants_limits(is_streaming: bool) -> None:
    stage = stage_of(is_streaming=is_streaming)
    answer = await stage.chat(LIMITED_AUTH, stream=is_streaming)
    assert answer.status == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"
    assert answer.headers["x-ratelimit-limit-tokens"] == "5000"
    assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) <= 5000
    assert answer.headers["x-ratelimit-reset-requests"] == "20s"
    check_all_left(stage)


async def test_a_tenant_without_limits_is_told_of_none() -> None:
    answer = await stage_of().chat()
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


async def test_a_rate_that_is_used_up_is_a_429_with_the_same_headers_and_when_to_come_back() -> None:
    stage = stage_of()
    for remaining in ("2", "1", "0"):
        assert (await stage.chat(LIMITED_AUTH)).headers["x-ratelimit-remaining-requests"] == remaining
    answer = await stage.chat(LIMITED_AUTH)
    check_limit(answer, "rate_limited")
    assert answer.headers["retry-after"] == "20"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-upcoach-attempts"] == "0"
    stage.wallet.clock.advance(20.0)
    assert (await stage.chat(LIMITED_AUTH)).status == 200
    check_all_left(stage)


def check_limit(answer: Answer, code: str) -> None:
    assert answer.status == 429
    error = answer.error
    assert (error["type"], error["code"], error["param"]) == ("policy_refusal", code, None)
    assert error["message"].endswith(".")
    assert int(answer.headers["retry-after"]) >= 1


async def test_too_many_tokens_are_a_429() -> None:
    stage = stage_of()
    assert (await stage.chat(LIMITED_AUTH, max_tokens=500)).status == 200
    stage.wallet.left["tokens:limited"] = 100.0
    check_limit(await stage.chat(LIMITED_AUTH, max_tokens=500), "rate_limited")
    check_all_left(stage)


async def test_what_a_request_used_is_settled_and_not_what_it_was_admitted_for() -> None:
    stage = stage_of()
    await stage.chat(LIMITED_AUTH, max_tokens=1000)
    assert stage.wallet.used["tokens:limited"] == 7 + 3


async def test_more_at_once_than_allowed_is_a_429() -> None:
    stage = stage_of(local=[HANG])
    tasks = [asyncio.create_task(stage.chat(LIMITED_AUTH)) for _ in range(2)]
    await stage.local.has_begun.wait()
    await asyncio.sleep(0.01)
    check_limit(await stage.chat(LIMITED_AUTH), "too_many_concurrent")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    check_all_left(stage)


async def test_a_saturated_gateway_is_a_503_that_says_when_to_come_back() -> None:
    stage = stage_of()
    stage.saturation.num_in_progress = 16
    answer = await stage.chat()
    assert (answer.status, answer.error["type"], answer.error["code"]) == (503, "capacity", "gateway_saturated")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_budget_that_is_out_is_a_429_for_who_asks_for_the_cloud_and_a_reason_for_who_does_not() -> None:
    stage = stage_of(complexity=HARD)
    # Known after the first call that it could not pay for.
    stage.wallet.left["spend-day:limited"] = 0.0
    check_limit(await stage.chat(LIMITED_AUTH, model="cloud"), "budget_exhausted")
    answer = await stage.chat(LIMITED_AUTH)
    assert (answer.status, answer.headers["x-upcoach-reason"]) == (200, "over_budget")
    assert answer.headers["x-upcoach-upstream"] == "local"
    assert stage.cloud.calls == stage.fallback.calls == []
    check_all_left(stage)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([UpstreamBroken("local", "x")], 502),
        ([UpstreamRejectedRequest("local", "no such tool")], 400),
        ([RuntimeError("a defect")], 500),
        ([HANG], 504),
    ],
)
@BOTH_WAYS
async def test_a_request_that_fails_gives_its_place_back(script: Script, status: int, is_streaming: bool) -> None:
    stage = stage_of(local=script, cloud=script, fallback=script)
    answer = await stage.chat({**LIMITED_AUTH, "X-Upcoach-Deadline-Ms": "150"}, stream=is_streaming)
    assert answer.status == status
    assert "x-ratelimit-limit-requests" in answer.headers
    check_all_left(stage)


@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
async def test_a_request_that_is_refused_by_its_decision_gives_its_place_back(path: str) -> None:
    stage = stage_of()
    body = chat_body(model="cloud")
    answer = await stage.post(path, body, authorization=f"Bearer {LIMITED_KEY}", x_upcoach_data_class="confidential")
    assert answer.status == 403
    check_all_left(stage)


async def test_the_decision_alone_is_admitted_too_and_uses_no_tokens() -> None:
    stage = stage_of()
    answer = await stage.post("/v1/route", chat_body(), authorization=f"Bearer {LIMITED_KEY}")
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"
    assert stage.wallet.used["tokens:limited"] == 0
    check_all_left(stage)


async def test_a_body_that_cannot_be_read_is_not_admitted_at_all() -> None:
    stage = stage_of()
    answer = await stage.post(CHAT, b"{", authorization=f"Bearer {LIMITED_KEY}")
    assert answer.status == 400
    assert stage.wallet.taken == []


@BOTH_WAYS
async def test_a_replayed_answer_gives_its_place_back_and_uses_no_tokens(is_streaming: bool) -> None:
    stage = stage_of(is_streaming=is_streaming)
    for _ in range(2):
        answer = await stage.chat({**LIMITED_AUTH, "Idempotency-Key": "k-1"}, stream=is_streaming)
    assert answer.headers["x-upcoach-replayed"] == "true"
    assert stage.wallet.used["tokens:limited"] == 7 + 3
    check_all_left(stage)


async def test_a_claim_that_fails_gives_its_place_back() -> None:
    stage = stage_of()
    keyed = {**LIMITED_AUTH, "Idempotency-Key": "k-1"}
    await stage.chat(keyed)
    assert (await stage.chat(keyed, temperature=1)).status == 409
    check_all_left(stage)


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["client gone", "server cancels"])
@BOTH_WAYS
async def test_a_client_that_leaves_at_any_moment_gives_its_place_back(is_streaming: bool, is_cancelled: bool) -> None:
    script: Script = [ROLE, content("x"), content("y"), FINISH] if is_streaming else [completion("x")]
    for num_turns in range(0, 45, 2):
        stage = stage_of(local=script)
        parts = [orjson.dumps(chat_body(stream=is_streaming))]
        headers = {**AUTH, **LIMITED_AUTH}
        async with exchange(stage.app, "POST", CHAT, headers=headers, parts=parts) as opened:
            for _ in range(num_turns):
                await asyncio.sleep(0)
            if is_cancelled:
                opened.task.cancel()
                await asyncio.wait([opened.task])
            else:
                await opened.leave()
        check_all_left(stage)


async def test_a_stream_holds_its_place_until_its_end() -> None:
    stage = stage_of(local=[ROLE, content("x"), HANG])
    parts = [orjson.dumps(chat_body(stream=True))]
    async with exchange(stage.app, "POST", CHAT, headers={**AUTH, **LIMITED_AUTH}, parts=parts) as opened:
        await opened.started()
        await opened.next_part()
        assert stage.saturation.num_in_progress == 1
        await opened.leave()
        assert stage.saturation.num_in_progress == 0
    check_all_left(stage)


async def test_a_stream_that_cannot_be_begun_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect between the upstream's first content and the response."""

    def fail(*_: object, **__: object) -> Response:
        raise RuntimeError

    monkeypatch.setattr("serve_app.http_api.inference.StreamedAnswer", fail)
    stage = stage_of(is_streaming=True)
    assert (await stage.chat(LIMITED_AUTH, stream=True)).status == 500
    check_all_left(stage)


async def test_readiness_turns_when_the_router_drains_and_it_still_answers() -> None:
    stage = stage_of()
    await stage.fleet.probe_all(1.0)
    for is_draining, status in ((False, 200), (True, 503), (False, 200)):
        stage.is_draining = is_draining
        answer = await ask(stage.app, "GET", "/readyz")
        assert (answer.status, answer.json["ready"], answer.json["draining"]) == (status, not is_draining, is_draining)
        assert (await stage.chat()).status == 200
        assert (await ask(stage.app, "GET", "/healthz")).status == 200


@pytest.mark.parametrize(("error", "status"), [(UpstreamCold("local", "not_up"), 503)])
async def test_data_that_must_stay_while_home_is_cold_is_a_503_with_its_start(error: UpstreamCold, status: int) -> None:
    stage = stage_of()
    stage.local.reserve_errors.append(error)
    answer = await stage.chat({"X-Upcoach-Data-Class": "confidential"})
    assert (answer.status, answer.error["code"]) == (status, "local_unavailable")
    assert answer.headers["retry-after"] == "90"
    assert answer.headers["x-upcoach-attempts"] == "0"


async def test_without_room_at_home_the_headers_say_spilled() -> None:
    stage = stage_of()
    stage.local.reserve_errors.append(UpstreamCold("local", "not_up"))
    answer = await stage.chat()
    assert (answer.headers["x-upcoach-reason"], answer.headers["x-upcoach-attempts"]) == ("spilled", "1")
