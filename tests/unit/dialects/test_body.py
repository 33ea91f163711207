import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.dialects.body import read_body
from serve_app.errors import InvalidRequest

values = st.recursive(
    st.none() | st.text(max_size=6) | st.integers(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    children = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, children), default=0)


def nested(depth: int) -> bytes:
    """An object of exactly that depth."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}" if depth > 1 else b"{}"


def test_an_object_is_read() -> None:
    assert read_body('{"a": "ü", "a": [1]}'.encode()) == {"a": [1]}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "The body is not valid JSON."),
        (b"{", "The body is not valid JSON."),
        (b'{"a": NaN}', "The body is not valid JSON."),
        (b'{"a": 1e999}', "The body is not valid JSON."),
        (b'{"a": "\\ud800"}', "The body is not valid JSON."),
        (b'{"a": "\xff"}', "The body is not valid UTF-8."),
        (b"[]", "The body must be a JSON object."),
        (b"null", "The body must be a JSON object."),
        (b'"text"', "The body must be a JSON object."),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_reason(raw: bytes, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(raw)
    assert caught.value.public_message == sentence


@pytest.mark.parametrize("max_depth", [1, 2, 64])
def test_the_depth_limit_is_exact(max_depth: int) -> None:
    read_body(nested(max_depth), max_depth)
    with pytest.raises(InvalidRequest) as caught:
        read_body(nested(max_depth + 1), max_depth)
    assert f"more than {max_depth} levels" in caught.value.public_message


@pytest.mark.parametrize("depth", [1100, 200_000])
def test_nesting_past_what_the_json_reader_takes_has_the_same_sentence(depth: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(nested(depth))
    assert "more than 64 levels" in caught.value.public_message


def test_brackets_in_a_prompt_are_no_depth() -> None:
    body = {"content": "[{" * 1000}
    assert read_body(orjson.dumps(body)) == body


@given(st.dictionaries(st.text(max_size=3), values, max_size=4), st.integers(1, 6))
def test_depth_is_refused_exactly_when_it_is_there(body: dict[str, Any], max_depth: int) -> None:
    if depth_of(body) <= max_depth:
        assert read_body(orjson.dumps(body), max_depth) == body
        return
    with pytest.raises(InvalidRequest):
        read_body(orjson.dumps(body), max_depth)


@given(st.binary(max_size=60))
def test_any_bytes_give_an_object_or_invalid_request(raw: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(read_body(raw), dict)
