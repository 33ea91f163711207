from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from serve_app.contracts.assessment import Turn
from serve_app.contracts.attempt import Usage
from serve_app.contracts.chat import ChatCall, Chunk
from serve_app.dialects.completions import CompletionsDialect
from serve_app.errors import DeadlineExceeded, InvalidRequest

USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


def parse(**fields: Any) -> ChatCall:
    return CompletionsDialect().parse({"model": "auto", "prompt": "Once", **fields})


def a_chunk(*choices: dict[str, Any], usage: dict[str, int] | None = None) -> Chunk:
    body: dict[str, Any] = {"id": "chatcmpl-7", "created": 5, "model": "m", "choices": list(choices)}
    if usage is not None:
        body["usage"] = usage
    counted = Usage(4, 2, is_estimated=False) if usage is not None else None
    return Chunk(orjson.dumps(body), body, has_content=True, finish_reason=None, usage=counted)


def payload(frame: bytes) -> Completion:
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    return Completion.model_validate(orjson.loads(frame[6:]))


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
def test_the_prompt_becomes_one_user_turn(prompt: Any) -> None:
    call = parse(prompt=prompt, temperature=0.1, max_tokens=7, top_k=3, logprobs=None, echo=False, best_of=1)
    assert call.turns == (Turn("user", "Once"),)
    assert call.max_output_tokens == 7
    assert call.body == {
        "model": "auto",
        "messages": [{"role": "user", "content": "Once"}],
        "temperature": 0.1,
        "max_tokens": 7,
        "top_k": 3,
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [""]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"echo": 1}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 0}, "logprobs"),
        ({"logprobs": 3}, "logprobs"),
        ({"tools": []}, "tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": True}, "max_tokens"),
        ({"response_format": {"type": "x"}}, "response_format.type"),
        ({"stream_options": {}}, "stream_options"),
        ({"model": ""}, "model"),
    ],
)
def test_what_a_chat_cannot_do_is_refused_and_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


def test_messages_of_the_callers_own_are_not_used() -> None:
    assert parse(messages=[{"role": "system", "content": "x"}]).turns == (Turn("user", "Once"),)


def test_an_answer_is_a_text_completion() -> None:
    chat = {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": " upon"}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": None, "refusal": "no"}, "finish_reason": "length"},
        ],
        "usage": USAGE,
    }
    answer = Completion.model_validate(orjson.loads(CompletionsDialect().render(orjson.dumps(chat), parse())))
    assert answer.id == "cmpl-7"
    assert [choice.text for choice in answer.choices] == [" upon", "no"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6


def test_an_answer_without_a_count_has_no_usage() -> None:
    answer = orjson.loads(CompletionsDialect().render(b'{"choices": []}', parse()))
    assert answer == {"id": "cmpl-", "object": "text_completion", "created": 0, "model": "auto", "choices": []}


def test_a_stream_gives_text_completions_and_leaves_the_role_out() -> None:
    stream = CompletionsDialect().stream(parse(stream=True))
    assert stream.feed(a_chunk({"index": 0, "delta": {"role": "assistant", "content": ""}})) == b""
    # The client's type wants a finish_reason in every chunk, the API sends null until the last.
    frame = stream.feed(a_chunk({"index": 0, "delta": {"content": "a"}, "finish_reason": None}))
    assert orjson.loads(frame[6:])["choices"] == [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}]
    last = payload(stream.feed(a_chunk({"index": 0, "delta": {}, "finish_reason": "stop"})))
    assert (last.choices[0].text, last.choices[0].finish_reason) == ("", "stop")
    assert stream.feed(a_chunk(usage=USAGE)) == b""
    assert stream.finish() == b"data: [DONE]\n\n"


def test_a_stream_tells_its_usage_to_those_who_asked() -> None:
    stream = CompletionsDialect().stream(parse(stream=True, stream_options={"include_usage": True}))
    told = payload(stream.feed(a_chunk(usage=USAGE)))
    assert told.choices == []
    assert told.usage is not None
    assert told.usage.prompt_tokens == 4


def test_a_broken_stream_ends_with_an_error_and_without_done() -> None:
    frames = CompletionsDialect().stream(parse(stream=True)).fail(DeadlineExceeded())
    assert frames.startswith(b"event: error\n")
    assert b"[DONE]" not in frames


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "x"]), inner, max_size=2),
    max_leaves=6,
)
names = [
    "model",
    "prompt",
    "suffix",
    "echo",
    "best_of",
    "logprobs",
    "tools",
    "functions",
    "response_format",
    "stream",
    "stop",
    "n",
    "messages",
    "other",
]


@given(st.dictionaries(st.sampled_from(names), json_values, max_size=5))
def test_any_json_gives_a_call_or_invalid_request(fields: dict[str, Any]) -> None:
    try:
        call = parse(**fields)
    except InvalidRequest:
        return
    assert len(call.turns) == 1
