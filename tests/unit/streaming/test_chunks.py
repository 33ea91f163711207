import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.contracts.attempt import Usage
from serve_app.streaming.chunks import (
    ErrorChunk,
    MalformedChunk,
    count_answer_chars,
    estimate_usage,
    read_chunk,
    read_complaint,
    read_usage,
)

scalars = st.none() | st.booleans() | st.integers(-5, 700) | st.floats(allow_nan=False) | st.text(max_size=6)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "object", "choices", "delta", "index", "usage", "content", "tool_calls", "code"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def a_chunk(delta: Any = None, finish_reason: Any = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return orjson.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **fields})


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"content": " "},
        {"refusal": "no"},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]},
        {"function_call": {"arguments": "{"}},
    ],
)
def test_what_a_caller_can_use_is_content(delta: dict[str, Any]) -> None:
    assert read_chunk(a_chunk(delta)).has_content


@pytest.mark.parametrize(
    "delta",
    [{}, None, {"role": "assistant"}, {"role": "assistant", "content": ""}, {"content": None}, {"tool_calls": []}],
)
def test_a_role_alone_or_an_empty_delta_is_no_content(delta: dict[str, Any] | None) -> None:
    assert not read_chunk(a_chunk(delta)).has_content


def test_content_in_the_second_choice_counts() -> None:
    data = orjson.dumps({"choices": [{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "x"}}]})
    assert read_chunk(data).has_content


def test_a_chunk_keeps_its_bytes_and_its_finish_reason() -> None:
    data = a_chunk({}, "length")
    chunk = read_chunk(data)
    assert chunk.data is data
    assert chunk.finish_reason == "length"
    assert read_chunk(a_chunk({"content": "x"}, "")).finish_reason is None


def test_a_usage_chunk_is_read_with_and_without_choices() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    for body in ({"choices": [], "usage": usage}, {"usage": usage}):
        chunk = read_chunk(orjson.dumps(body))
        assert chunk.usage == Usage(3, 5, is_estimated=False)
        assert not chunk.has_content


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"3",
        b"{}",
        b'{"choices": {}}',
        b'{"choices": [3]}',
        b'{"choices": [{"delta": 3}]}',
        b'{"choices": [{"index": "a"}]}',
        b'{"choices": [{"index": 4096}]}',
        b'{"choices": [{"finish_reason": 3}]}',
        b'{"usage": {}}',
    ],
)
def test_what_is_no_chunk_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedChunk):
        read_chunk(data)


@given(json_values)
def test_any_json_gives_a_chunk_or_one_of_two_errors(value: Any) -> None:
    try:
        chunk = read_chunk(json.dumps(value).encode())
    except (ErrorChunk, MalformedChunk):
        return
    assert isinstance(chunk.has_content, bool)


@pytest.mark.parametrize(
    ("body", "status_code", "is_callers_fault"),
    [
        ({"error": {"message": "m", "type": "BadRequestError", "param": None, "code": 400}}, 400, True),
        ({"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}, 400, True),
        ({"object": "error", "message": "m", "type": "InternalServerError", "code": 500}, 500, False),
        ({"error": {"message": "m", "type": "invalid_request_error", "code": None}}, None, True),
        ({"error": {"message": "m", "type": "server_error", "code": "context_length_exceeded"}}, None, True),
        ({"error": {"message": "m", "type": "server_error", "code": None}}, None, False),
        ({"error": {"message": "m", "code": "429"}}, 429, False),
        ({"error": {"message": "m", "code": 401, "type": "invalid_request_error"}}, 401, False),
        ({"error": {"message": "m", "status": 503}}, 503, False),
        ({"error": "m"}, None, False),
    ],
)
def test_an_error_in_a_stream_says_whose_fault_it_is(
    body: dict[str, Any], status_code: int | None, is_callers_fault: bool
) -> None:
    with pytest.raises(ErrorChunk) as caught:
        read_chunk(orjson.dumps(body))
    complaint = caught.value.complaint
    assert (complaint.status_code, complaint.is_callers_fault) == (status_code, is_callers_fault)
    assert complaint.message == "m"


def test_an_errors_text_is_in_no_exception_text() -> None:
    with pytest.raises(ErrorChunk) as caught:
        read_chunk(b'{"error": {"message": "prompt was: secret"}}')
    assert "secret" not in str(caught.value)


def test_the_http_status_outranks_the_bodys_own_code() -> None:
    complaint = read_complaint({"error": {"message": "m", "code": 400}}, 503)
    assert complaint is not None
    assert complaint.status_code == 503
    assert not complaint.is_callers_fault


def test_no_error_is_no_complaint() -> None:
    assert read_complaint({"error": None, "choices": []}) is None


def test_a_long_or_missing_reason_is_bounded() -> None:
    long = read_complaint({"error": {"message": "x" * 10_000, "param": "messages", "code": "weird"}})
    assert long is not None
    assert (len(long.message), long.param, long.code) == (500, "messages", "weird")
    none = read_complaint({"error": {"message": {"a": 1}}})
    assert none is not None
    assert none.message == "The upstream gave no reason."


@pytest.mark.parametrize(
    "usage",
    [None, 3, {}, {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 1, "completion_tokens": 1.5}],
)
def test_a_count_that_makes_no_sense_is_unknown(usage: Any) -> None:
    assert read_usage({"usage": usage}) is None


def test_an_embeddings_count_has_no_output() -> None:
    assert read_usage({"usage": {"prompt_tokens": 4, "total_tokens": 4}}) == Usage(4, 0, is_estimated=False)


@pytest.mark.parametrize(("num_chars", "num_tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (400, 100)])
def test_an_estimate_takes_four_characters_a_token_rounded_up(num_chars: int, num_tokens: int) -> None:
    assert estimate_usage(7, num_chars) == Usage(7, num_tokens, is_estimated=True)


def test_an_answers_characters_are_counted_in_all_its_forms() -> None:
    call = {"id": "x", "function": {"name": "find", "arguments": "{}"}}
    choices = [
        {"message": {"content": "four", "tool_calls": [call, 3]}},
        {"message": {"content": None, "refusal": "no", "reasoning": "hm"}},
        {"message": {"function_call": {"name": "f", "arguments": "{}"}, "content": [{"type": "text"}]}},
        {"message": None},
        3,
    ]
    assert count_answer_chars({"choices": choices}) == 4 + 6 + 2 + 2 + 3 + len(b'[{"type":"text"}]')
    assert count_answer_chars({}) == 0
