from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.contracts.assessment import Turn
from serve_app.contracts.attempt import Usage
from serve_app.contracts.chat import ChatCall, Chunk
from serve_app.contracts.vocabulary import Capability
from serve_app.dialects.chat import ChatDialect
from serve_app.errors import DeadlineExceeded, InvalidRequest

TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
USER = {"role": "user", "content": "hello"}


def a_body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": list(messages) or [USER], **fields}


def parse(*messages: Any, **fields: Any) -> ChatCall:
    return ChatDialect().parse(a_body(*messages, **fields))


def refusal_of(body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        ChatDialect().parse(body)
    return caught.value


def a_chunk(body: dict[str, Any], usage: Usage | None = None) -> Chunk:
    return Chunk(orjson.dumps(body), body, has_content=bool(body.get("choices")), finish_reason=None, usage=usage)


def test_a_plain_call_keeps_the_callers_body() -> None:
    body = a_body(temperature=0.5, top_k=7, guided={"x": [1]})
    call = ChatDialect().parse(body)
    assert call.body == body
    assert (call.wanted_model, call.is_streaming, call.wants_usage) == ("auto", False, False)
    assert call.needs == {Capability.CHAT}
    assert call.turns == (Turn("user", "hello"),)
    assert call.max_output_tokens is None


def test_a_body_need_not_be_a_dict() -> None:
    assert ChatDialect().parse(MappingProxyType(a_body())).wanted_model == "auto"


def test_tools_and_structured_output_go_through_as_they_came() -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "own": 1}}
    fields = {"tools": [TOOL | {"own": 1}], "tool_choice": "auto", "response_format": response_format}
    call = parse(**fields)
    assert {name: call.body[name] for name in fields} == fields
    assert call.needs == {Capability.CHAT, Capability.TOOLS, Capability.STRUCTURED_OUTPUT}


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"functions": [{"name": "find"}]}, {Capability.TOOLS}),
        ({"response_format": {"type": "json_object"}}, {Capability.STRUCTURED_OUTPUT}),
        ({"response_format": {"type": "text"}}, set()),
        ({"tools": None, "response_format": None}, set()),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, {Capability.IMAGES}),
    ],
)
def test_a_request_needs_what_it_uses(fields: dict[str, Any], needs: set[Capability]) -> None:
    assert parse(**fields).needs == needs | {Capability.CHAT}


@pytest.mark.parametrize(
    ("fields", "wants_usage", "options"),
    [
        ({"stream": True}, False, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, False, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": False}}, False, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, {"include_usage": True}),
        ({"stream": True, "stream_options": {"own": 1}}, False, {"include_usage": True, "own": 1}),
        ({"stream": False}, False, None),
    ],
)
def test_upstreams_are_always_asked_for_a_streams_usage(
    fields: dict[str, Any], wants_usage: bool, options: dict[str, Any] | None
) -> None:
    call = parse(**fields)
    assert call.is_streaming is fields["stream"]
    assert call.wants_usage is wants_usage
    assert call.body.get("stream_options") == options


def test_max_completion_tokens_wins() -> None:
    assert parse(max_tokens=5).max_output_tokens == 5
    assert parse(max_tokens=5, max_completion_tokens=9).max_output_tokens == 9


def test_turns_hold_the_text_of_every_message() -> None:
    call = parse(
        {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [a_tool_call()]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        {"role": "function", "name": "f", "content": None},
    )
    texts = [("system", "be brief"), ("user", "a\nb"), ("assistant", ""), ("tool", "found"), ("function", "")]
    assert call.turns == tuple(Turn(role, text) for role, text in texts)


def a_tool_call() -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


def test_the_prompts_size_is_estimated_by_the_stated_rule() -> None:
    assert parse({"role": "user", "content": "x" * 400}).num_prompt_tokens == 100 + 4 + 3
    assert parse({"role": "user", "content": "ü" * 200}).num_prompt_tokens == 100 + 4 + 3
    assert parse({"role": "user", "content": [IMAGE]}).num_prompt_tokens == 765 + 4 + 3
    assert parse(tools=[TOOL]).num_prompt_tokens > parse().num_prompt_tokens + 15
    called = parse(USER, {"role": "assistant", "tool_calls": [a_tool_call()]})
    assert called.num_prompt_tokens > parse(USER, {"role": "assistant", "content": ""}).num_prompt_tokens + 10


@pytest.mark.parametrize(
    "message",
    [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "AA"}}]},
        {"role": "user", "content": "x", "name": "ann"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": "x", "reasoning_content": "hm"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}]},
    ],
)
def test_every_kind_of_message_is_taken(message: dict[str, Any]) -> None:
    assert parse(message).body["messages"] == [message]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        (["x"], "messages.0"),
        ([{}], "messages.0.role"),
        ([{"role": "poet", "content": "x"}], "messages.0.role"),
        ([{"role": ["user"], "content": "x"}], "messages.0.role"),
        ([{"role": "user"}], "messages.0.content"),
        ([USER, {"role": "user", "content": None}], "messages.1.content"),
        ([{"role": "user", "content": 5}], "messages.0.content"),
        ([{"role": "user", "content": []}], "messages.0.content"),
        ([{"role": "user", "content": [{}]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "dream"}]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text"),
        ([{"role": "user", "content": [{"type": "text", "text": 3}]}], "messages.0.content.0.text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages.0.content.0.image_url"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages.0.content.0.image_url.url"),
        ([{"role": "system", "content": [IMAGE]}], "messages.0.content.0.type"),
        ([{"role": "assistant", "content": None}], "messages.0.content"),
        ([{"role": "assistant", "tool_calls": []}], "messages.0.tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]}], "messages.0.tool_calls.0.function"),
        ([{"role": "tool", "content": "x"}], "messages.0.tool_call_id"),
        ("hello", "messages"),
        ({"role": "user"}, "messages"),
        (None, "messages"),
    ],
)
def test_a_wrong_message_is_refused_and_the_field_is_named(messages: Any, param: str) -> None:
    assert refusal_of({"model": "auto", "messages": messages}).param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"model": "\ud800"}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"stop": []}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ["a", 1]}, "stop.1"),
        ({"stop": 1}, "stop"),
        ({"stream": 1}, "stream"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": False, "stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"tools": []}, "tools"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools.0.function.name"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": 5}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": 0}, "parallel_tool_calls"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"seed": 1.5}, "seed"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"logit_bias": {"50256": 101}}, "logit_bias"),
        ({"logit_bias": []}, "logit_bias"),
        ({"metadata": {"key": 1}}, "metadata"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"user": 5}, "user"),
    ],
)
def test_a_field_out_of_its_range_is_refused_and_named(fields: dict[str, Any], param: str) -> None:
    refusal = refusal_of(a_body(**fields))
    assert refusal.param == param
    assert refusal.public_message.startswith(f"'{param}' ")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"temperature": 3}, "'temperature' must be at most 2."),
        ({"n": 0}, "'n' must be at least 1."),
        ({"stop": ["a"] * 5}, "'stop' must have a length of at most 4."),
        ({"messages": []}, "'messages' must not be empty."),
        ({"metadata": {"key": 1}}, "'metadata' has a value that must be a string."),
        ({"stop": {}}, "'stop' must be a string or a list."),
        (
            {"response_format": {"type": "x"}},
            "'response_format.type' must be one of 'text', 'json_object', 'json_schema'.",
        ),
    ],
)
def test_the_sentence_says_what_is_allowed(fields: dict[str, Any], sentence: str) -> None:
    assert refusal_of(a_body(**fields)).public_message == sentence


@pytest.mark.parametrize(
    "fields",
    [
        {"model": ["SECRET"]},
        {"messages": [{"role": "SECRET", "content": "SECRET"}]},
        {"messages": [{"role": "user", "content": [{"type": "SECRET", "text": "SECRET"}]}]},
        {"messages": [{"role": "tool", "content": {"SECRET": "SECRET"}, "tool_call_id": "SECRET"}]},
        {"metadata": {"SECRET": {"SECRET": 1}}},
        {"logit_bias": {"SECRET": "SECRET"}},
        {"stop": [{"SECRET": 1}]},
        {"response_format": {"type": "SECRET"}},
        {"tools": [{"type": "SECRET"}]},
        {"tools": [TOOL], "tool_choice": "SECRET"},
        {"temperature": "SECRET"},
    ],
)
def test_a_refusal_repeats_nothing_that_the_caller_sent(fields: dict[str, Any]) -> None:
    refusal = refusal_of(a_body(**fields))
    assert "SECRET" not in str(refusal.to_openai())
    assert "SECRET" not in str(refusal)


def test_nulls_stand_for_what_was_left_out() -> None:
    names = ("temperature", "top_p", "n", "max_tokens", "stop", "stream", "tools", "seed", "logit_bias", "user")
    assert parse(**dict.fromkeys(names)).is_streaming is False


def test_of_several_faults_the_first_field_is_named() -> None:
    assert refusal_of({"model": 1, "messages": [{"role": "user", "content": [{}]}], "n": 0}).param == "model"


def test_a_million_wrong_messages_are_one_error() -> None:
    assert refusal_of({"model": "auto", "messages": [1] * 1_000_000}).param == "messages.0"


def test_an_answer_leaves_with_the_bytes_with_which_it_came() -> None:
    completion = b'{ "id" : "x" }'
    assert ChatDialect().render(completion, parse()) is completion


def test_chunks_leave_with_the_bytes_with_which_they_came() -> None:
    body = {"choices": [{"index": 0, "delta": {"content": "x"}}]}
    chunk = Chunk(b'{"choices" : [ ]}', body, has_content=True, finish_reason=None, usage=None)
    stream = ChatDialect().stream(parse(stream=True))
    assert stream.feed(chunk) == b'data: {"choices" : [ ]}\n\n'
    assert stream.finish() == b"data: [DONE]\n\n"


@pytest.mark.parametrize("wants_usage", [True, False])
def test_the_usage_chunk_goes_to_those_who_asked(wants_usage: bool) -> None:
    stream = ChatDialect().stream(parse(stream=True, stream_options={"include_usage": wants_usage}))
    chunk = a_chunk({"choices": [], "usage": {"prompt_tokens": 1}}, Usage(1, 1, is_estimated=False))
    assert bool(stream.feed(chunk)) is wants_usage


def test_a_chunk_with_content_and_usage_is_never_left_out() -> None:
    body = {"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": {"prompt_tokens": 1}}
    stream = ChatDialect().stream(parse(stream=True))
    assert stream.feed(a_chunk(body, Usage(1, 1, is_estimated=False)))


def test_a_chunk_without_choices_or_usage_goes_through() -> None:
    assert ChatDialect().stream(parse(stream=True)).feed(a_chunk({"choices": [], "prompt_filter_results": []}))


def test_a_broken_stream_ends_with_an_error_and_without_done() -> None:
    frames = ChatDialect().stream(parse(stream=True)).fail(DeadlineExceeded())
    assert frames.startswith(b"event: error\ndata: ")
    assert b"deadline_exceeded" in frames
    assert b"[DONE]" not in frames


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(-3, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "name", "function", "image_url", "url", "id", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
words = st.sampled_from(["user", "assistant", "tool", "text", "image_url", "function", "json_schema", "json_object"])
near_messages = st.lists(
    st.fixed_dictionaries(
        {"role": words, "content": st.text(max_size=4) | json_values | st.lists(json_values, max_size=2)},
        optional={"tool_calls": json_values, "tool_call_id": st.text(max_size=3), "name": json_values},
    ),
    max_size=3,
)
known = st.sampled_from(
    [
        "temperature",
        "n",
        "stop",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "response_format",
        "functions",
        "metadata",
        "logit_bias",
        "max_tokens",
        "max_completion_tokens",
        "seed",
        "modalities",
        "model",
        "other",
    ]
)


@given(st.dictionaries(known, json_values, max_size=5), st.just([USER]) | near_messages | json_values)
def test_any_json_gives_a_call_or_invalid_request(fields: dict[str, Any], messages: Any) -> None:
    body = {"model": "auto", "messages": messages, **fields}
    try:
        call = ChatDialect().parse(body)
    except InvalidRequest:
        return
    assert call.num_prompt_tokens > 0
    assert Capability.CHAT in call.needs
