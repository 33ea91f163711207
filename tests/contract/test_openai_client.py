"""The official client, synchronous, against every target: the same calls as against OpenAI itself."""

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.fakes.targets import Target

GREETING: Any = [{"role": "user", "content": "Hello!"}]
HARD: Any = [
    {
        "role": "user",
        "content": "Prove that there are infinitely many primes congruent to 3 modulo 4, then generalise the argument "
        "and explain step by step where it fails for 1 modulo 4.",
    }
]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "book_session",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string", "format": "date"}, "minutes": {"type": "integer", "minimum": 30}},
            "required": ["day", "minutes"],
        },
    },
}
FORCED: Any = {"type": "function", "function": {"name": "book_session"}}
BOOKING = {"day": "2026-01-31", "minutes": 30}
CONFIDENTIAL = {"X-Upcoach-Data-Class": "confidential"}


def test_a_greeting_is_answered_by_the_fast_local_tier(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=GREETING, max_tokens=8)
    answer = raw.parse()
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 8
    assert raw.headers["x-upcoach-tier"] == "LOCAL_FAST"
    assert raw.headers["x-upcoach-reason"] == "simple"
    assert raw.headers["x-upcoach-attempts"] == "1"


def test_a_hard_prompt_leaves_for_the_cloud(client: openai.OpenAI, target: Target) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HARD)
    assert raw.headers["x-upcoach-tier"] == "CLOUD_ENHANCED"
    assert raw.headers["x-upcoach-reason"] == "complex"
    assert raw.headers["x-upcoach-upstream"] == "simulator"
    content = raw.parse().choices[0].message.content
    assert content is not None
    assert "Simulated answer" in content
    assert target.cloud.served()["started"] == 1


@pytest.mark.parametrize(("alias", "upstream"), [("local", "smollm2"), ("cloud", "simulator")])
def test_an_alias_goes_where_it_says(client: openai.OpenAI, alias: str, upstream: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=alias, messages=GREETING, max_tokens=8)
    assert raw.headers["x-upcoach-upstream"] == upstream
    assert 0 <= float(raw.headers["x-upcoach-complexity"]) <= 1


@pytest.mark.parametrize("model", ["local", "cloud"])
def test_a_stream_comes_in_pieces_and_ends_with_its_usage(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.create(
        model=model, messages=GREETING, max_tokens=8, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 8
    assert usage.prompt_tokens > 0


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="cloud", messages=HARD).choices[0].message.content
    with client.chat.completions.create(model="cloud", messages=HARD, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole


def test_a_stream_whose_usage_nobody_asked_for_has_none(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="cloud", messages=GREETING, stream=True) as stream:
        assert all(chunk.choices and chunk.usage is None for chunk in stream)


def test_several_choices_come_back_as_many(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="cloud", messages=GREETING, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_a_forced_tool_is_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="auto", messages=GREETING, tools=[TOOL], tool_choice=FORCED)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "book_session"
    assert json.loads(call.function.arguments) == BOOKING
    assert answer.choices[0].finish_reason == "tool_calls"


def test_the_pieces_of_a_streamed_tool_call_are_the_whole(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="auto", messages=GREETING, tools=[TOOL], tool_choice="required"
    ) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in events
    (call,) = final.choices[0].message.tool_calls or []
    assert call.function.name == "book_session"
    assert json.loads(call.function.arguments) == BOOKING


def test_a_tools_result_is_answered(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="cloud", messages=GREETING, tools=[TOOL], tool_choice=FORCED)
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    result = {"role": "tool", "tool_call_id": call.id, "content": "booked"}
    messages: Any = [*GREETING, message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(model="cloud", messages=messages, tools=[TOOL])
    assert second.choices[0].message.content


class Plan(BaseModel):
    goal: str
    num_weeks: int
    steps: list[str]


def test_structured_output_fits_its_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="cloud", messages=GREETING, response_format=Plan)
    plan = answer.choices[0].message.parsed
    assert isinstance(plan, Plan)
    assert plan.steps


def test_completions_answer_in_their_own_shape(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="cloud", prompt="Once upon a time", max_tokens=8)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    with client.completions.create(model="cloud", prompt="Once upon a time", max_tokens=8, stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == answer.choices[0].text


def test_responses_answer_plainly_and_streamed(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="cloud", instructions="Be brief.", input="Hello!", max_output_tokens=64)
    assert answer.status == "completed"
    assert "Simulated answer" in answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0
    with client.responses.stream(model="cloud", input="Hello!", max_output_tokens=64) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.output_text.delta" in kinds
    assert final.output_text == answer.output_text


def test_a_response_cut_off_by_its_limit_says_so(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="cloud", input="Hello!", max_output_tokens=4)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_a_responses_tool_call_makes_its_round_trip(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "strict": False, **TOOL["function"]}
    first = client.responses.create(model="cloud", input="Hello!", tools=[tool], tool_choice="required")
    (call,) = first.output
    assert call.type == "function_call"
    assert call.name == "book_session"
    assert json.loads(call.arguments) == BOOKING
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "booked"}
    items: Any = [{"role": "user", "content": "Hello!"}, call.model_dump(exclude_none=True), result]
    second = client.responses.create(model="cloud", input=items, tools=[tool])
    assert second.output_text


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_embeddings_are_vectors_one_for_each_input(client: openai.OpenAI, encoding_format: Any) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="auto", input=["one", "two"], dimensions=8, encoding_format=encoding_format
    )
    answer = raw.parse()
    assert [row.index for row in answer.data] == [0, 1]
    assert raw.headers["x-upcoach-upstream"] == "simulator"
    if encoding_format == "float":
        assert all(len(row.embedding) == 8 for row in answer.data)


def test_models_can_be_listed_and_told(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:3] == ["auto", "local", "cloud"]
    assert {"smollm2-135m-instruct", "sim-large", "sim-small"} <= set(names)
    for name in names:
        assert client.models.retrieve(name).id == name


def test_every_listed_model_answers(client: openai.OpenAI) -> None:
    for model in client.models.list():
        answer = client.chat.completions.create(model=model.id, messages=GREETING, max_tokens=4)
        assert answer.choices[0].message.content


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"temperature": 5}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"extra_headers": {"X-Upcoach-Tier": "BEST"}}, "X-Upcoach-Tier"),
    ],
)
def test_a_wrong_request_is_the_clients_bad_request(client: openai.OpenAI, fields: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "auto", "messages": GREETING, **fields})
    assert (caught.value.status_code, caught.value.param, caught.value.type) == (400, param, "caller_error")
    assert caught.value.request_id


def test_a_wrong_key_is_the_clients_authentication_error(target: Target) -> None:
    with (
        openai.OpenAI(base_url=f"{target.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.models.list()
    assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")


def test_a_forbidden_place_is_the_clients_permission_denied(client: openai.OpenAI, target: Target) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="cloud", messages=GREETING, extra_headers=CONFIDENTIAL)
    assert (caught.value.status_code, caught.value.code) == (403, "residency_forbidden")
    assert target.cloud.served()["started"] == 0


def test_an_unknown_model_is_the_clients_not_found(client: openai.OpenAI) -> None:
    for ask in (
        lambda: client.chat.completions.create(model="gpt-99", messages=GREETING),
        lambda: client.models.retrieve("gpt-99"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_key_used_again_with_another_body_is_the_clients_conflict(client: openai.OpenAI) -> None:
    key = {"Idempotency-Key": f"conflict-{id(client)}"}
    client.chat.completions.create(model="cloud", messages=GREETING, extra_headers=key)
    with pytest.raises(openai.ConflictError):
        client.chat.completions.create(model="cloud", messages=HARD, extra_headers=key)


@pytest.mark.parametrize("is_streaming", [False, True])
def test_a_key_used_again_gives_the_same_answer_and_costs_nothing(
    client: openai.OpenAI, target: Target, is_streaming: bool
) -> None:
    key = {"Idempotency-Key": f"replay-{id(client)}-{is_streaming}"}
    ids = set()
    for _ in range(3):
        if is_streaming:
            with client.chat.completions.create(
                model="cloud", messages=GREETING, stream=True, extra_headers=key
            ) as stream:
                ids |= {chunk.id for chunk in stream}
        else:
            ids.add(client.chat.completions.create(model="cloud", messages=GREETING, extra_headers=key).id)
    assert len(ids) == 1
    assert target.cloud.served()["started"] == 1


def test_a_deadline_too_short_is_a_gateway_timeout(client: openai.OpenAI, target: Target) -> None:
    target.cloud.behave(ttft_ms=3000)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(
            model="sim-large", messages=GREETING, extra_headers={"X-Upcoach-Deadline-Ms": "400"}
        )
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")
