from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from serve_app.contracts.assessment import Turn
from serve_app.contracts.chat import ChatCall
from serve_app.contracts.vocabulary import Capability
from serve_app.dialects.responses.dialect import ResponsesDialect
from serve_app.errors import InvalidRequest

TOOL = {"type": "function", "name": "find", "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}


def a_dialect() -> ResponsesDialect:
    numbers: Iterator[int] = count(1)
    return ResponsesDialect(new_id=lambda: str(next(numbers)), now_s=lambda: 1000.9)


def parse(**fields: Any) -> ChatCall:
    return a_dialect().parse({"model": "auto", "input": "hello", **fields})


def render(message: dict[str, Any], finish_reason: str = "stop", call: ChatCall | None = None) -> Response:
    chat = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "smollm2",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": None,
        },
    }
    return Response.model_validate(orjson.loads(a_dialect().render(orjson.dumps(chat), call or parse())))


def test_a_text_is_one_user_turn() -> None:
    call = parse(temperature=0.5, max_output_tokens=9, top_k=3)
    assert call.body == {
        "model": "auto",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "top_k": 3,
    }
    assert call.turns == (Turn("user", "hello"),)
    assert call.max_output_tokens == 9


def test_a_conversation_with_calls_becomes_a_chat() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}
    call = parse(
        instructions="be brief",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "look"}, image]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "let me see"}]},
            {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}", "id": "fc_1"},
            {"type": "function_call", "call_id": "c2", "name": "find", "arguments": "[]"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
            {"role": "user", "content": "thanks"},
        ],
    )
    assert call.body["messages"] == [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "find", "arguments": "[]"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "user", "content": "thanks"},
    ]
    assert Capability.IMAGES in call.needs


def test_a_call_without_a_message_before_it_gets_one() -> None:
    call = parse(input=[{"type": "function_call", "call_id": "c", "name": "find", "arguments": ""}])
    assert call.body["messages"][0]["role"] == "assistant"
    assert call.body["messages"][0]["content"] is None


def test_a_refusal_of_the_assistants_is_handed_back() -> None:
    item = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert parse(input=[item]).body["messages"] == [item]


def test_tools_format_and_reasoning_are_spelled_as_a_chats() -> None:
    call = parse(
        tools=[TOOL],
        tool_choice={"type": "function", "name": "find"},
        text={"format": SCHEMA, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        parallel_tool_calls=False,
    )
    function = {name: value for name, value in TOOL.items() if name != "type"}
    schema = {name: value for name, value in SCHEMA.items() if name != "type"}
    assert call.body["tools"] == [{"type": "function", "function": function}]
    assert call.body["tool_choice"] == {"type": "function", "function": {"name": "find"}}
    assert call.body["response_format"] == {"type": "json_schema", "json_schema": schema}
    assert call.body["reasoning_effort"] == "high"
    assert call.body["verbosity"] == "low"
    assert call.body["parallel_tool_calls"] is False
    assert call.needs == {Capability.CHAT, Capability.TOOLS, Capability.STRUCTURED_OUTPUT}


def test_a_tool_choice_that_changes_nothing_is_left_out_where_there_are_no_tools() -> None:
    assert "tool_choice" not in parse(tools=[], tool_choice="auto").body


@pytest.mark.parametrize(
    ("text", "response_format"),
    [({"format": {"type": "text"}}, None), ({"format": {"type": "json_object"}}, {"type": "json_object"}), ({}, None)],
)
def test_a_text_format_is_a_response_format(text: dict[str, Any], response_format: dict[str, Any] | None) -> None:
    assert parse(text=text).body.get("response_format") == response_format


def test_what_only_a_response_knows_does_not_reach_an_upstream() -> None:
    fields = {
        "store": True,
        "metadata": {"a": "b"},
        "include": ["reasoning.encrypted_content"],
        "truncation": "disabled",
        "max_tool_calls": 3,
        "background": False,
    }
    assert set(parse(**fields).body) == {"model", "messages"}


def test_a_stream_asks_its_upstream_for_usage_only() -> None:
    call = parse(stream=True, stream_options={"include_obfuscation": False})
    assert call.is_streaming
    assert call.body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input.0"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [{"role": "poet", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.image_url"),
        (
            {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input.0.content",
        ),
        ({"input": [{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}]}, "input.0.content"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input.0.call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input.0.output"),
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools.1.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"stream_options": {}}, "stream_options"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"store": 1}, "store"),
        ({"messages": []}, "messages"),
        ({"n": 2}, "n"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


def test_a_request_for_state_is_told_that_there_is_none() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(previous_response_id="resp_1")
    assert "keeps no state" in caught.value.public_message


def test_an_answer_is_a_response_with_one_message() -> None:
    answer = render({"content": "hi", "refusal": None, "tool_calls": []})
    assert (answer.id, answer.status, answer.model, answer.created_at) == ("resp_1", "completed", "smollm2", 1000)
    assert answer.output_text == "hi"
    assert [item.type for item in answer.output] == ["message"]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (10, 5, 15)
    assert answer.usage.input_tokens_details.cached_tokens == 3


def test_an_answer_repeats_the_request_and_stores_nothing() -> None:
    fields: dict[str, Any] = {
        "instructions": "be brief",
        "metadata": {"a": "b"},
        "tools": [TOOL],
        "tool_choice": "auto",
        "temperature": 0.5,
        "text": {"format": SCHEMA},
        "store": True,
    }
    answer = render({"content": "hi"}, call=parse(**fields)).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert answer["store"] is False
    assert {name: answer[name] for name in fields if name != "store"} == {
        name: value for name, value in fields.items() if name != "store"
    }


def test_calls_are_items_of_their_own() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}]
    answer = render({"content": None, "tool_calls": calls}, "tool_calls")
    (item,) = answer.output
    assert item.type == "function_call"
    assert (item.call_id, item.name, item.arguments, item.status) == ("c1", "find", '{"q":1}', "completed")
    assert answer.status == "completed"


def test_a_refusal_is_a_part_of_the_message() -> None:
    (item,) = render({"content": None, "refusal": "no"}).output
    assert item.type == "message"
    assert item.content[0].type == "refusal"


def test_an_answer_that_says_nothing_has_no_items() -> None:
    assert render({"content": ""}).output == []


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_cut_short_says_so(finish_reason: str, reason: str) -> None:
    answer = render({"content": "hi"}, finish_reason)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == reason
    assert answer.output[0].type == "message"
    assert answer.output[0].status == "incomplete"


def test_every_answer_has_an_id_of_its_own() -> None:
    dialect = ResponsesDialect()
    ids = {orjson.loads(dialect.render(b"{}", parse()))["id"] for _ in range(3)}
    assert len(ids) == 3


def test_an_answer_without_a_count_has_no_usage() -> None:
    answer = a_dialect().render(b'{"choices": []}', parse())
    assert Response.model_validate(orjson.loads(answer)).usage is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "name", "format", "call_id", "output", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
item_types = st.sampled_from(["message", "function_call", "function_call_output", "reasoning", "item_reference"])
near_items = st.lists(
    st.fixed_dictionaries(
        {"type": item_types, "role": st.sampled_from(["user", "assistant", "system"])},
        optional={"content": json_values, "call_id": json_values, "name": json_values, "arguments": json_values},
    ),
    max_size=3,
)
names = [
    "model",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "metadata",
    "stream",
    "stream_options",
    "store",
    "include",
    "truncation",
    "temperature",
    "top_p",
    "stop",
    "functions",
    "max_output_tokens",
    "parallel_tool_calls",
    "user",
    "other",
]


@given(st.dictionaries(st.sampled_from(names), json_values, max_size=4), near_items | json_values | st.just("hi"))
def test_any_json_gives_a_call_or_invalid_request(fields: dict[str, Any], inputs: Any) -> None:
    try:
        call = a_dialect().parse({"model": "auto", "input": inputs, **fields})
    except InvalidRequest:
        return
    assert call.turns
