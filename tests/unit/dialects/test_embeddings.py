from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.contracts.chat import ChatCall
from serve_app.contracts.vocabulary import Capability
from serve_app.dialects.embeddings import EmbeddingsDialect
from serve_app.errors import InternalError, InvalidRequest


def parse(**fields: Any) -> ChatCall:
    return EmbeddingsDialect().parse({"model": "auto", "input": "hello", **fields})


@pytest.mark.parametrize(
    ("inputs", "num_tokens"),
    [("x" * 9, 3), (["x" * 8, "ü"], 3), ([5, 6, 7], 3), ([[5, 6], [7]], 3)],
)
def test_every_kind_of_input_is_taken_and_its_size_known(inputs: Any, num_tokens: int) -> None:
    call = parse(input=inputs, encoding_format="base64", dimensions=8, user="u", own=1)
    assert call.num_prompt_tokens == num_tokens
    assert call.needs == {Capability.EMBEDDINGS}
    assert (call.turns, call.max_output_tokens, call.is_streaming) == ((), None, False)
    assert call.body["own"] == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [[1, -1]]}, "input"),
        ({"input": [[1, "a"]]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": {}}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
        ({"user": 1}, "user"),
    ],
)
def test_a_wrong_field_is_refused_and_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


def test_the_answer_goes_through_and_never_streams() -> None:
    answer = b'{"object":"list","data":[]}'
    assert EmbeddingsDialect().render(answer, parse()) is answer
    with pytest.raises(InternalError):
        EmbeddingsDialect().stream(parse())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from(["input", "model", "dimensions", "encoding_format"]), json_values, max_size=3))
def test_any_json_gives_a_call_or_invalid_request(fields: dict[str, Any]) -> None:
    try:
        call = parse(**fields)
    except InvalidRequest:
        return
    assert call.num_prompt_tokens >= 1
