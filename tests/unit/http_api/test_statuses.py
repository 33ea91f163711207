"""Every status of the contract: its code, whose fault it is, the field it names, and the headers it carries."""

import json

import orjson
import pytest

from serve_app.errors import (
    EgressForbidden,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamRejectedRequest,
    UpstreamUnreachable,
)
from tests.fakes.asgi import Answer, ask, exchange
from tests.fakes.chunks import REJECTION_CHUNK, ROLE
from tests.fakes.gateways import AUTH, HARD, KEY, LOCAL_KEY, MAX_BODY_BYTES, chat_body, stage_of
from tests.fakes.upstreams import HANG

CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def check(answer: Answer, status: int, kind: str, code: str, param: str | None = None) -> None:
    assert answer.status == status
    error = answer.error
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    assert error["message"].endswith((".", "'."))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-upcoach-attempts"].isdigit()
    assert "server-timing" in answer.headers


def deep(levels: int) -> bytes:
    inner = b"[" * levels + b"]" * levels
    return b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"metadata":' + inner + b"}"


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"not json", None),
        (b"[]", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
        (b'{"model":"auto","messages":[{"role":"user","content":"\xff"}]}', None),
        (b'{"model": NaN}', None),
        (deep(20), None),
        (deep(2000), None),
        (b"{}", "model"),
        (json.dumps({"model": "auto"}).encode(), "messages"),
        (json.dumps(chat_body(model="")).encode(), "model"),
        (json.dumps(chat_body(model=7)).encode(), "model"),
        (json.dumps(chat_body(messages=[])).encode(), "messages"),
        (json.dumps(chat_body(messages="hi")).encode(), "messages"),
        (json.dumps(chat_body(messages=[{"role": "user"}])).encode(), "messages.0.content"),
        (json.dumps(chat_body(messages=[{"role": "king", "content": "x"}])).encode(), "messages.0.role"),
        (json.dumps(chat_body(temperature=9)).encode(), "temperature"),
        (json.dumps(chat_body(max_tokens=0)).encode(), "max_tokens"),
        (json.dumps(chat_body(stream="yes")).encode(), "stream"),
    ],
)
async def test_a_wrong_body_is_a_400_that_names_the_field(raw: bytes, param: str | None) -> None:
    stage = stage_of()
    check(await stage.post(CHAT, raw), 400, "caller_error", "invalid_request", param)
    assert not any(upstream.calls for upstream in stage.upstreams)
    assert (await stage.chat()).status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/route"])
async def test_every_route_refuses_what_is_not_json(path: str) -> None:
    check(await stage_of().post(path, b"\x00"), 400, "caller_error", "invalid_request")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Upcoach-Data-Class", "secret"),
        ("X-Upcoach-Data-Class", ""),
        ("X-Upcoach-Tier", "TURBO-9"),
        ("X-Upcoach-Tier", "__class__"),
        ("X-Upcoach-Deadline-Ms", "0"),
        ("X-Upcoach-Deadline-Ms", "-5"),
        ("X-Upcoach-Deadline-Ms", "1e3"),
        ("X-Upcoach-Deadline-Ms", "3600001"),
        ("X-Upcoach-Deadline-Ms", "9" * 300),
        ("X-Upcoach-Deadline-Ms", "²"),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "k" * 256),
    ],
)
async def test_a_header_with_an_unknown_value_is_a_400_that_names_it(name: str, value: str) -> None:
    answer = await stage_of().chat({name: value})
    check(answer, 400, "caller_error", "invalid_request", name)
    assert len(value) < 5 or value not in answer.body.decode()


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer é"]
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/route"])
async def test_no_valid_key_is_a_401_before_anything_is_read(authorization: str | None, path: str) -> None:
    stage = stage_of()
    headers = {} if authorization is None else {"authorization": authorization}
    method = "GET" if path == "/v1/models" else "POST"
    answer = await ask(stage.app, method, path, headers=headers, parts=[b"not json"])
    check_401(answer)
    assert not any(upstream.calls for upstream in stage.upstreams)


def check_401(answer: Answer) -> None:
    check(answer, 401, "caller_error", "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("data_class", ["confidential", "CONFIDENTIAL"])
async def test_confidential_data_asked_into_the_cloud_is_a_403(data_class: str) -> None:
    stage = stage_of()
    answer = await stage.chat({"X-Upcoach-Data-Class": data_class}, model="cloud")
    check(answer, 403, "policy_refusal", "residency_forbidden")
    assert stage.cloud.calls == stage.fallback.calls == []


async def test_confidential_data_wished_into_a_cloud_tier_is_a_403_and_is_not_quietly_moved() -> None:
    headers = {"X-Upcoach-Data-Class": "confidential", "X-Upcoach-Tier": "CLOUD_ENHANCED"}
    check(await stage_of().chat(headers), 403, "policy_refusal", "residency_forbidden")


async def test_a_tier_that_the_tenant_may_not_use_is_a_403() -> None:
    headers = {"authorization": f"Bearer {LOCAL_KEY}", "X-Upcoach-Tier": "CLOUD_ENHANCED"}
    check(await stage_of().chat(headers), 403, "policy_refusal", "tier_forbidden")


async def test_a_model_behind_a_forbidden_tier_is_a_403() -> None:
    answer = await stage_of().chat({"authorization": f"Bearer {LOCAL_KEY}"}, model="cloud-model")
    check(answer, 403, "policy_refusal", "tier_forbidden")


async def test_an_unknown_model_is_a_404() -> None:
    stage = stage_of()
    check(await stage.chat(model="gpt-99"), 404, "caller_error", "model_not_found", "model")
    check(await stage.get("/v1/models/gpt-99"), 404, "caller_error", "model_not_found", "model")


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/chat/completions", "/v1/chat", "/v1/chat/completions/x", "/docs"])
async def test_an_unknown_path_is_a_404(path: str) -> None:
    check(await stage_of().get(path), 404, "caller_error", "unknown_path")


@pytest.mark.parametrize("path", [CHAT + "/", "/healthz/", "/v1/route/"])
async def test_a_path_with_a_slash_too_many_is_a_404_and_no_redirect(path: str) -> None:
    check(await stage_of().post(path, chat_body()), 404, "caller_error", "unknown_path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, {"POST"}),
        ("DELETE", CHAT, {"POST"}),
        ("PUT", "/v1/embeddings", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    answer = await ask(stage_of().app, method, path, headers=AUTH)
    check(answer, 405, "caller_error", "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_a_body_announced_too_large_is_a_413_and_none_of_it_is_read() -> None:
    headers = {**AUTH, "content-length": str(MAX_BODY_BYTES + 1)}
    async with exchange(stage_of().app, "POST", CHAT, headers=headers, parts=[b"x" * 1000] * 11) as opened:
        await opened.started()
        answer = Answer(opened.status, opened.headers, await opened.body())
        assert opened.num_parts_read == 0
    check(answer, 413, "caller_error", "body_too_large")


@pytest.mark.parametrize("announced", [None, "5", "nonsense", "-1"])
async def test_a_body_that_grows_too_large_is_a_413_as_soon_as_it_does(announced: str | None) -> None:
    headers = AUTH if announced is None else {**AUTH, "content-length": announced}
    async with exchange(stage_of().app, "POST", CHAT, headers=headers, parts=[b"x" * 1000] * 50) as opened:
        await opened.started()
        answer = Answer(opened.status, opened.headers, await opened.body())
        assert opened.num_parts_read == MAX_BODY_BYTES // 1000 + 1
    check(answer, 413, "caller_error", "body_too_large")


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    raw = orjson.dumps(chat_body())
    answer = await stage_of().post(CHAT, raw + b" " * (MAX_BODY_BYTES - len(raw)))
    assert answer.status == 200


async def test_a_need_that_no_allowed_upstream_meets_is_a_400() -> None:
    answer = await stage_of().chat(model="local", tools=TOOLS)
    check(answer, 400, "caller_error", "unsupported_capability", "model")


async def test_a_prompt_longer_than_every_context_is_a_400() -> None:
    answer = await stage_of().chat(messages=[{"role": "user", "content": "word " * 1900}])
    check(answer, 400, "caller_error", "context_length_exceeded", "messages")


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_an_upstreams_rejection_is_a_400_with_its_words(is_streaming: bool) -> None:
    script = [REJECTION_CHUNK] if is_streaming else [UpstreamRejectedRequest("local", "bad tool", "tools")]
    stage = stage_of(local=script, is_streaming=is_streaming)
    answer = await stage.chat(stream=is_streaming)
    assert (answer.status, answer.headers["x-upcoach-attempts"]) == (400, "1")
    assert answer.error == {
        "message": "bad tool",
        "type": "caller_error",
        "code": "rejected_by_upstream",
        "param": "tools",
    }


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_when_every_upstream_fails_it_is_a_502_that_says_who_was_last(is_streaming: bool) -> None:
    fail = [UpstreamBroken("x", "x")]
    stage = stage_of(local=fail, cloud=fail, fallback=[UpstreamRefused("x", "status_429", 9.0)])
    answer = await stage.chat(stream=is_streaming)
    check(answer, 502, "upstream_error", "all_upstreams_failed")
    assert answer.headers["x-upcoach-attempts"] == "3"
    assert answer.headers["x-upcoach-upstream"] == "fallback"
    assert "retry-after" not in answer.headers
    assert stage.num_in_flight == 0


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_local_only_data_while_local_cannot_be_reached_is_a_503_that_says_when_to_come_back(
    is_streaming: bool,
) -> None:
    stage = stage_of(local=[UpstreamUnreachable("local", "connect")], complexity=HARD)
    for num_attempts in ("1", "0"):  # the second time it is known, and waited for in vain
        answer = await stage.chat({"X-Upcoach-Data-Class": "confidential"}, stream=is_streaming)
        check(answer, 503, "capacity", "local_unavailable")
        assert answer.headers["retry-after"] == "90"  # the expected start
        assert answer.headers["x-upcoach-attempts"] == num_attempts
    assert stage.cloud.calls == stage.fallback.calls == []


async def test_no_upstream_at_hand_is_a_503_that_says_when_to_come_back() -> None:
    stage = stage_of()
    for upstream_id in ("local", "cloud", "fallback"):
        stage.fleet.saw_failure(upstream_id, UpstreamUnreachable(upstream_id, "connect"))
    answer = await stage.chat()
    check(answer, 503, "capacity", "no_capacity")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(("is_streaming", "script"), [(False, [HANG]), (True, [ROLE, HANG])], ids=["plain", "streamed"])
async def test_a_deadline_that_passes_before_the_answer_is_a_504(is_streaming: bool, script: list[bytes]) -> None:
    stage = stage_of(local=script)
    answer = await stage.chat({"X-Upcoach-Deadline-Ms": "250"}, stream=is_streaming)
    check(answer, 504, "gateway_error", "deadline_exceeded")
    assert stage.cloud.calls == []
    assert stage.num_in_flight == 0


async def test_a_deadline_too_short_for_any_upstream_is_a_504_without_an_attempt() -> None:
    answer = await stage_of().chat({"X-Upcoach-Deadline-Ms": "5"})
    check(answer, 504, "gateway_error", "deadline_exceeded")
    assert answer.headers["x-upcoach-attempts"] == "0"


async def test_a_call_stopped_at_its_proxy_is_a_500_and_goes_nowhere_else() -> None:
    stage = stage_of(local=[EgressForbidden("local", "cloud")])
    check(await stage.chat(), 500, "gateway_error", "egress_forbidden")
    assert stage.cloud.calls == stage.fallback.calls == []


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_defect_is_a_500_that_tells_nothing(is_streaming: bool) -> None:
    stage = stage_of(local=[RuntimeError("private words")])
    answer = await stage.chat(stream=is_streaming)
    check(answer, 500, "gateway_error", "internal_error")
    assert b"private" not in answer.body
    assert stage.num_in_flight == 0
