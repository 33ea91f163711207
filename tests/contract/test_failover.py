"""What a caller sees when the chosen provider fails, and where confidential data does not go."""

from collections.abc import Iterable
from typing import Any

import openai
import pytest

from tests.contract.conftest import InProcess
from tests.contract.test_openai_client import CONFIDENTIAL, GREETING, HARD
from tests.fakes.targets import Target

BEFORE_THE_FIRST = ["refuse", "http_500", "http_503", "rate_limited", "rate_limited_date", "unauthorized", "empty",
                    "error_in_200", "rubbish", "die_before_first"]  # fmt: skip
AFTER_THE_FIRST = ["die_after_n", "error_after_n", "rubbish_after_n", "no_finish", "no_done"]


def read_into(chunks: list[Any], stream: Iterable[Any]) -> None:
    chunks.extend(stream)


@pytest.mark.parametrize("fault", BEFORE_THE_FIRST)
@pytest.mark.parametrize("is_streaming", [False, True], ids=["plain", "streamed"])
def test_another_provider_answers_and_the_headers_tell(
    client: openai.OpenAI, target: Target, fault: str, is_streaming: bool
) -> None:
    target.cloud.behave(fault=fault)
    raw: Any = client.chat.completions.with_raw_response.create(model="cloud", messages=HARD, stream=is_streaming)
    assert raw.headers["x-upcoach-attempts"] == "2"
    assert raw.headers["x-upcoach-upstream"] == "simulator-fallback"
    assert raw.headers["x-upcoach-reason"] == "failover"
    if is_streaming:
        with raw.parse() as stream:
            chunks = list(stream)
        assert chunks[-1].choices[0].finish_reason == "stop"
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = raw.parse().choices[0].message.content
    assert "Simulated answer" in text
    assert target.fallback.served()["completed"] == 1


def test_a_provider_that_refuses_the_request_itself_is_believed(client: openai.OpenAI, target: Target) -> None:
    target.cloud.behave(fault="bad_request")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="cloud", messages=HARD)
    assert caught.value.code == "rejected_by_upstream"
    assert target.fallback.served()["started"] == 0


def test_when_every_provider_fails_it_is_the_clients_server_error(client: openai.OpenAI, target: Target) -> None:
    target.cloud.behave(fault="http_503")
    target.fallback.behave(fault="refuse")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="cloud", messages=HARD)
    assert (caught.value.status_code, caught.value.code) == (502, "all_upstreams_failed")
    assert caught.value.response.headers["x-upcoach-attempts"] == "3"


@pytest.mark.parametrize("fault", AFTER_THE_FIRST)
def test_a_stream_that_breaks_is_the_clients_error_and_never_a_false_end(
    client: openai.OpenAI, target: Target, fault: str
) -> None:
    # With a pace, so that content has left before the break.
    target.cloud.behave(fault=fault, tokens_per_s=200, jitter=0, num_tokens=8)
    chunks: list[Any] = []
    stream = client.chat.completions.create(model="cloud", messages=HARD, stream=True)
    with stream, pytest.raises(openai.APIError) as caught:
        read_into(chunks, stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert {chunk.choices[0].finish_reason for chunk in chunks} == {None}
    assert caught.value.code in ("upstream_broken", "upstream_refused")
    assert target.fallback.served()["started"] == 0


def test_a_stream_that_breaks_inside_a_tool_call_is_the_clients_error(client: openai.OpenAI, target: Target) -> None:
    target.cloud.behave(fault="die_in_tool_call", fault_after_chunks=2, tokens_per_s=200, jitter=0)
    chunks: list[Any] = []
    stream = client.chat.completions.create(model="cloud", messages=HARD, stream=True)
    with stream, pytest.raises(openai.APIError):
        read_into(chunks, stream)
    assert any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert {chunk.choices[0].finish_reason for chunk in chunks} == {None}


def test_a_response_whose_stream_breaks_has_failed(client: openai.OpenAI, target: Target) -> None:
    target.cloud.behave(fault="die_after_n", tokens_per_s=200, jitter=0)
    with client.responses.create(model="cloud", input="Hello!", stream=True) as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert "response.output_text.delta" in kinds
    assert kinds[-2:] == ["response.failed", "error"]
    assert "response.completed" not in kinds
    assert events[-1].type == "error"
    assert events[-1].code == "upstream_broken"


def test_a_stream_that_stalls_ends_at_its_deadline(client: openai.OpenAI, target: Target) -> None:
    target.cloud.behave(fault="stall_after_n", tokens_per_s=200)
    stream = client.chat.completions.create(
        model="cloud", messages=HARD, stream=True, extra_headers={"X-Upcoach-Deadline-Ms": "700"}
    )
    with stream, pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "deadline_exceeded"


def test_slow_and_odd_providers_are_still_answered_from(client: openai.OpenAI, target: Target) -> None:
    for behaviour in ({"fault": "huge_chunk"}, {"fault": "wrong_content_type"}, {"ttft_ms": 150, "tokens_per_s": 500}):
        target.cloud.behave(**behaviour)
        with client.chat.completions.create(model="cloud", messages=HARD, stream=True) as stream:
            chunks = list(stream)
        assert chunks[-1].choices[0].finish_reason == "stop", behaviour
        target.cloud.reset()


def ask_confidentially(client: openai.OpenAI) -> None:
    """A hard prompt by every route and alias that could take it out."""
    limits: Any = {"extra_headers": CONFIDENTIAL}
    for model in ("auto", "local"):
        client.chat.completions.create(model=model, messages=HARD, max_tokens=4, **limits)
        client.responses.create(model=model, input=HARD[0]["content"], max_output_tokens=4, **limits)
        client.completions.create(model=model, prompt=HARD[0]["content"], max_tokens=4, **limits)
        with client.chat.completions.create(model=model, messages=HARD, max_tokens=4, stream=True, **limits) as stream:
            list(stream)


def test_confidential_data_never_leaves(client: openai.OpenAI, target: Target) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=HARD, max_tokens=4, extra_headers=CONFIDENTIAL
    )
    assert raw.headers["x-upcoach-upstream"] == "smollm2"
    assert raw.headers["x-upcoach-reason"] == "local_only"
    ask_confidentially(client)
    for model in ("cloud", "sim-large", "simulator", "sim-small"):
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model=model, messages=HARD, extra_headers=CONFIDENTIAL)
    for tier in ("CLOUD_ENHANCED", "CLOUD_FALLBACK"):
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(
                model="auto", messages=HARD, extra_headers={**CONFIDENTIAL, "X-Upcoach-Tier": tier}
            )
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="auto", input="text", extra_headers=CONFIDENTIAL)
    assert target.cloud.served()["started"] == 0
    assert target.fallback.served()["started"] == 0


@pytest.mark.parametrize("fault", ["refuse", "http_503", "rate_limited", "rubbish", "die_before_first"])
def test_confidential_data_does_not_leave_when_local_fails(
    rig: InProcess, rig_client: openai.OpenAI, fault: str
) -> None:
    rig.local.behave(fault=fault)
    for is_streaming in (False, True):
        with pytest.raises(openai.InternalServerError) as caught:
            rig_client.chat.completions.create(
                model="auto", messages=GREETING, stream=is_streaming, extra_headers=CONFIDENTIAL
            )
        assert caught.value.status_code in (502, 503)
    assert rig.cloud.served()["started"] == 0
    assert rig.fallback.served()["started"] == 0


def test_a_failing_local_model_is_passed_over_where_the_data_may_leave(
    rig: InProcess, rig_client: openai.OpenAI
) -> None:
    rig.local.behave(fault="http_503")
    raw = rig_client.chat.completions.with_raw_response.create(model="auto", messages=GREETING)
    assert raw.headers["x-upcoach-attempts"] == "2"
    assert raw.headers["x-upcoach-upstream"] == "simulator"
