"""What the simulator reads in a body, and what it refuses."""

from typing import Any

import pytest

from loadtests.simulator.chat_request import BadRequest, parse_chat, parse_object


def a_body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello there"}], **fields}


def a_tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


TOOLS = [a_tool("book_session"), a_tool("find_coach")]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"3"])
def test_only_a_json_object_is_a_body(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_object(body)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"tools": {"name": "x"}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": TOOLS, "tool_choice": a_tool("unknown")}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_chat(a_body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ({}, None),
        ({"tool_choice": "required"}, "book_session"),
        ({"tool_choice": a_tool("find_coach")}, "find_coach"),
        ({"messages": [{"role": "user", "content": "please use find_coach"}]}, "find_coach"),
        ({"messages": [{"role": "user", "content": "use a tool"}]}, "book_session"),
        ({"messages": [{"role": "user", "content": "use a tool"}], "tool_choice": "none"}, None),
        ({"messages": [{"role": "tool", "content": "the tool says 3"}]}, None),
    ],
)
def test_a_tool_is_called_when_it_is_required_named_or_asked_for(fields: dict[str, Any], called: str | None) -> None:
    tool = parse_chat(a_body(tools=TOOLS, **fields)).tool
    assert (tool["name"] if tool else None) == called


def test_usage_is_sent_only_where_it_is_asked_for() -> None:
    assert parse_chat(a_body(stream_options={"include_usage": True})).wants_usage
    assert not parse_chat(a_body(stream_options={})).wants_usage
    assert not parse_chat(a_body(stream_options=None)).wants_usage


def test_the_newer_name_of_the_limit_wins() -> None:
    assert parse_chat(a_body(max_tokens=9, max_completion_tokens=4)).max_tokens == 4
