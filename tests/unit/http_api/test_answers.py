"""Whole answers and the routes beside them: headers, /v1/route, /v1/models, probes and metrics."""

import re
import time

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.contracts.vocabulary import DropReason, Outcome, Reason, Tier
from serve_app.errors import UpstreamBroken, UpstreamUnreachable
from tests.fakes.asgi import Answer, ask, exchange
from tests.fakes.chunks import completion
from tests.fakes.gateways import AUTH, EASY, HARD, LOCAL_KEY, chat_body, stage_of
from tests.fakes.upstreams import HANG, Pause

TIMINGS = ["classify", "decide", "queue", "upstream", "overhead"]
ON_EVERY_ANSWER = {
    "x-request-id", "x-upcoach-tier", "x-upcoach-upstream", "x-upcoach-model", "x-upcoach-complexity",
    "x-upcoach-reason", "x-upcoach-attempts", "server-timing",
}  # fmt: skip


def timings_ms(answer: Answer) -> dict[str, float]:
    parts = re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"])
    return {name: float(value) for name, value in parts}


async def test_an_answer_leaves_as_it_came_and_says_who_gave_it() -> None:
    stage = stage_of()
    answer = await stage.chat()
    assert (answer.status, answer.body) == (200, completion("Hello"))
    assert answer.headers.keys() >= ON_EVERY_ANSWER
    assert answer.headers["x-upcoach-tier"] == "LOCAL_FAST"
    assert answer.headers["x-upcoach-upstream"] == "local"
    assert answer.headers["x-upcoach-model"] == "local-model"
    assert answer.headers["x-upcoach-reason"] == "simple"
    assert answer.headers["x-upcoach-complexity"] == "0.100"
    assert answer.headers["x-upcoach-attempts"] == "1"
    assert answer.headers["content-length"] == str(len(answer.body))


async def test_a_hard_prompt_leaves_for_the_cloud() -> None:
    answer = await stage_of(complexity=HARD).chat()
    assert (answer.headers["x-upcoach-tier"], answer.headers["x-upcoach-reason"]) == ("CLOUD_ENHANCED", "complex")


async def test_a_hard_prompt_that_is_confidential_stays() -> None:
    stage = stage_of(complexity=HARD)
    answer = await stage.chat({"X-Upcoach-Data-Class": "confidential"})
    assert answer.headers["x-upcoach-upstream"] == "local"
    assert answer.headers["x-upcoach-reason"] == "local_only"
    assert stage.cloud.calls == stage.fallback.calls == []
    assert stage.local.calls[0].allowed_places == {"local"}


async def test_confidential_data_is_not_sent_out_when_local_fails() -> None:
    stage = stage_of(local=[UpstreamBroken("local", "x")], complexity=HARD)
    answer = await stage.chat({"X-Upcoach-Data-Class": "confidential"})
    assert answer.status == 502
    assert stage.cloud.calls == stage.fallback.calls == []


async def test_a_failed_upstream_is_passed_over_and_the_headers_tell() -> None:
    stage = stage_of(local=[UpstreamUnreachable("local", "connect")])
    answer = await stage.chat()
    assert answer.status == 200
    assert answer.headers["x-upcoach-attempts"] == "2"
    assert answer.headers["x-upcoach-reason"] == "failover"
    assert answer.headers["x-upcoach-upstream"] == "cloud"
    assert [row.outcome for row in stage.attempts] == [Outcome.FAILED, Outcome.COMPLETED]


async def test_every_part_of_the_time_is_told_where_it_belongs() -> None:
    started = time.monotonic()
    answer = await stage_of(local=[Pause(0.05), completion("Hello")]).chat()
    elapsed_ms = (time.monotonic() - started) * 1000
    parts = timings_ms(answer)
    assert list(parts) == TIMINGS
    assert parts["upstream"] > 45
    assert parts["overhead"] >= parts["classify"] + parts["decide"]
    assert parts["queue"] + parts["upstream"] + parts["overhead"] <= elapsed_ms


async def test_a_request_id_comes_back_and_goes_along() -> None:
    stage = stage_of()
    answer = await stage.chat({"X-Request-Id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    assert stage.local.calls[0].request_id == "mine-7"
    assert stage.attempts[0].request_id == "mine-7"


@pytest.mark.parametrize("given", ["x" * 200, "evil\r\nset-cookie: a=b", "two words"])
async def test_a_request_id_that_may_not_stand_in_a_header_is_exchanged(given: str) -> None:
    stage = stage_of()
    answer = await stage.chat({"X-Request-Id": given})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert "set-cookie" not in answer.headers
    assert stage.local.calls[0].request_id == answer.headers["x-request-id"]


async def test_the_trace_goes_along() -> None:
    stage = stage_of()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stage.chat({"traceparent": trace})
    assert stage.local.calls[0].traceparent == trace


async def test_a_wished_tier_is_granted_inside_what_the_tenant_may_use() -> None:
    answer = await stage_of(complexity=EASY).chat({"X-Upcoach-Tier": "CLOUD_FALLBACK"})
    assert (answer.headers["x-upcoach-tier"], answer.headers["x-upcoach-reason"]) == ("CLOUD_FALLBACK", "pinned_tier")


async def test_a_wished_deadline_reaches_the_upstream() -> None:
    stage = stage_of()
    await stage.chat({"X-Upcoach-Deadline-Ms": "700"})
    assert 0.5 < stage.local.calls[0].remaining_s <= 0.7


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        ("/v1/completions", {"model": "auto", "prompt": "hi"}, lambda json: json["choices"][0]["text"]),
        ("/v1/responses", {"model": "auto", "input": "hi"}, lambda json: json["output"][0]["content"][0]["text"]),
    ],
)
async def test_every_route_answers_in_its_own_shape(path: str, body: object, read: object) -> None:
    answer = await stage_of().post(path, body)
    assert answer.status == 200
    assert callable(read)
    assert read(answer.json) == "Hello"
    assert answer.headers.keys() >= ON_EVERY_ANSWER


async def test_embeddings_are_answered_by_an_upstream_that_offers_them() -> None:
    vectors = orjson.dumps({"object": "list", "data": [{"embedding": [0.5], "index": 0}]})
    answer = await stage_of(cloud=[vectors]).post("/v1/embeddings", {"model": "auto", "input": "hi"})
    assert (answer.status, answer.body) == (200, vectors)
    assert answer.headers["x-upcoach-upstream"] == "cloud"


async def test_a_client_that_leaves_a_plain_request_ends_the_upstream() -> None:
    stage = stage_of(local=[HANG])
    parts = [orjson.dumps(chat_body())]
    async with exchange(stage.app, "POST", "/v1/chat/completions", headers=AUTH, parts=parts) as opened:
        await stage.local.has_begun.wait()
        await opened.leave()
    assert [row.outcome for row in stage.attempts] == [Outcome.CANCELLED]
    assert (stage.local.num_running, stage.num_in_flight) == (0, 0)
    assert stage.cloud.calls == []


async def test_a_client_that_leaves_while_it_sends_its_body_starts_nothing() -> None:
    stage = stage_of()
    parts = [b'{"mod']
    async with exchange(stage.app, "POST", "/v1/chat/completions", headers=AUTH, parts=parts, is_cut=True) as opened:
        await opened.has_read.wait()
        await opened.leave()
    assert not any(upstream.calls for upstream in stage.upstreams)


async def test_route_tells_the_decision_and_calls_nobody() -> None:
    stage = stage_of(complexity=HARD)
    answer = await stage.post("/v1/route", chat_body())
    assert answer.status == 200
    told = answer.json
    assert told["object"] == "route.decision"
    assert (told["complexity"], told["domain"], told["scored_by"]) == (HARD, "knowledge", "model")
    assert told["chosen"] == {
        "tier": "CLOUD_ENHANCED",
        "upstream": "cloud",
        "model": "cloud-model",
        "place": "cloud",
    }
    assert [one["upstream"] for one in told["fallbacks"]] == ["fallback", "local"]
    assert {one["reason"] for one in told["dropped"]} <= set(DropReason)
    assert Reason(told["reason"]) is Reason.COMPLEX
    assert all(0 <= value <= 1 for one in told["scores"] for value in (one["total"], *one["parts"].values()))
    assert answer.headers["x-upcoach-attempts"] == "0"
    assert answer.headers["x-upcoach-tier"] == "CLOUD_ENHANCED"
    assert not any(upstream.calls for upstream in stage.upstreams)
    assert stage.attempts == []


async def test_route_says_what_an_answer_then_does() -> None:
    for complexity in (EASY, 0.5, HARD):
        stage = stage_of(complexity=complexity)
        told = (await stage.post("/v1/route", chat_body())).json
        answer = await stage.chat()
        assert told["chosen"]["tier"] == answer.headers["x-upcoach-tier"]
        assert told["reason"] == answer.headers["x-upcoach-reason"]


async def test_models_lists_the_aliases_and_what_the_tenant_may_reach() -> None:
    stage = stage_of()
    everything = (await stage.get("/v1/models")).json
    assert everything["object"] == "list"
    assert [model["id"] for model in everything["data"]] == [
        "auto", "local", "cloud", "local-model", "cloud-model", "fallback-model",
    ]  # fmt: skip
    assert all(model.keys() == {"id", "object", "created", "owned_by"} for model in everything["data"])
    little = (await stage.get("/v1/models", authorization=f"Bearer {LOCAL_KEY}")).json
    assert [model["id"] for model in little["data"]] == ["auto", "local", "cloud", "local-model"]


async def test_one_model_is_told_by_its_name_and_another_tenants_does_not_exist() -> None:
    stage = stage_of()
    assert (await stage.get("/v1/models/cloud-model")).json["id"] == "cloud-model"
    answer = await stage.get("/v1/models/cloud-model", authorization=f"Bearer {LOCAL_KEY}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_health_needs_no_key_and_asks_nobody() -> None:
    stage = stage_of()
    answer = await ask(stage.app, "GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_ready_while_at_least_one_upstream_could_answer() -> None:
    stage = stage_of()
    assert (await ask(stage.app, "GET", "/readyz")).status == 503  # nothing is known yet
    await stage.fleet.probe_all(1.0)
    ready = await ask(stage.app, "GET", "/readyz")
    assert (ready.status, ready.json["ready"], ready.json["local_ready"]) == (200, True, True)
    for upstream_id, status in (("local", 200), ("cloud", 200), ("fallback", 503)):
        stage.fleet.saw_failure(upstream_id, UpstreamUnreachable(upstream_id, "connect"))
        answer = await ask(stage.app, "GET", "/readyz")
        assert answer.status == status
        assert answer.json["ready"] is (status == 200)
        assert answer.json["local_ready"] is False
        assert answer.json["upstreams"][upstream_id] is False


async def test_metrics_can_be_read_and_count_what_happened() -> None:
    stage = stage_of(local=[UpstreamBroken("local", "x")])
    await stage.fleet.probe_all(1.0)
    await stage.chat()
    await stage.chat(model="gpt-99")
    answer = await ask(stage.app, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    route = "/v1/chat/completions"
    assert samples["upcoach_requests_total", *sorted((route, "200", "CLOUD_ENHANCED"))] == 1
    assert samples["upcoach_requests_total", *sorted((route, "404", "none"))] == 1
    assert samples["upcoach_attempts_total", *sorted(("local", "LOCAL_FAST", "failed"))] == 1
    assert samples["upcoach_attempts_total", *sorted(("cloud", "CLOUD_ENHANCED", "completed"))] == 1
    assert samples["upcoach_tokens_total", "cloud", "output"] == 3
    assert samples["upcoach_upstream_available", "fallback"] == 1


async def test_metrics_hold_no_name_that_a_caller_made_up() -> None:
    stage = stage_of()
    await stage.chat({"X-Request-Id": "made-up-id"}, model="made-up-model", user="made-up-user")
    await stage.get("/made-up-path")
    await stage.get("/v1/models/made-up-name")
    answer = await ask(stage.app, "GET", "/metrics")
    assert b"made-up" not in answer.body


@pytest.mark.parametrize("tier", [tier for tier in Tier if tier is not Tier.CLOUD_SPECIALIZED])
async def test_every_configured_tier_can_be_asked_for(tier: Tier) -> None:
    answer = await stage_of().chat({"X-Upcoach-Tier": tier.name})
    assert answer.headers["x-upcoach-tier"] == tier.name
