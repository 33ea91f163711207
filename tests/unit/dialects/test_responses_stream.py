from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from serve_app.contracts.attempt import Usage
from serve_app.contracts.chat import Chunk, StreamRenderer
from serve_app.dialects.responses.dialect import ResponsesDialect
from serve_app.errors import DeadlineExceeded, GatewayError, InternalError

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ENDS = {"response.completed", "response.incomplete", "response.failed"}


class RateLimited(GatewayError):
    status_code, code = 429, "rate_limited"


def a_stream(**fields: Any) -> StreamRenderer:
    numbers: Iterator[int] = count(1)
    dialect = ResponsesDialect(new_id=lambda: str(next(numbers)), now_s=lambda: 1000.9)
    return dialect.stream(dialect.parse({"model": "auto", "input": "hello", "stream": True, **fields}))


def a_chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **fields: Any) -> Chunk:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    body = {"id": "c", "model": "smollm2", "choices": choices, **fields}
    usage = Usage(1, 1, is_estimated=False) if "usage" in fields else None
    return Chunk(orjson.dumps(body), body, has_content=bool(delta), finish_reason=finish_reason, usage=usage)


def a_call(index: int | None = 0, **function: str) -> dict[str, Any]:
    call: dict[str, Any] = {"function": function}
    if index is not None:
        call["index"] = index
    if "name" in function:
        call |= {"id": f"call_{function['name']}", "type": "function"}
    return {"tool_calls": [call]}


def events_of(data: bytes) -> list[Any]:
    """Every event checked against the official client's own type for its name."""
    events = []
    for frame in data.split(b"\n\n")[:-1]:
        name, payload = frame.split(b"\n")
        body = orjson.loads(payload.removeprefix(b"data: "))
        assert name == b"event: " + body["type"].encode()
        event = EVENTS.validate_python(body)
        assert event.type == body["type"]
        assert not event.model_extra, f"{body['type']} has fields that the client does not know"
        events.append(event)
    return events


def run(stream: StreamRenderer, *chunks: Chunk, error: GatewayError | None = None) -> list[Any]:
    data = b"".join(stream.feed(chunk) for chunk in chunks)
    events = events_of(data + (stream.fail(error) if error else stream.finish()))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert sum(event.type in ENDS for event in events) == 1
    return events


def accumulated(events: list[Any]) -> Response:
    """What the official client's stream helper makes of the events."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(event)
    assert state._completed_response is not None
    return state._completed_response


def test_a_text_comes_as_the_events_of_one_message() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    events = run(
        a_stream(),
        a_chunk({"role": "assistant", "content": ""}),
        a_chunk({"content": "Hel"}),
        a_chunk({"content": "lo"}),
        a_chunk({}, "stop"),
        a_chunk(usage=usage),
    )
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.delta for event in events[4:6]] == ["Hel", "lo"]
    assert events[6].text == "Hello"
    final = accumulated(events)
    assert (final.output_text, final.status, final.model) == ("Hello", "completed", "smollm2")
    assert final.usage is not None
    assert final.usage.total_tokens == 5


def test_parallel_calls_come_as_items_with_their_arguments() -> None:
    events = run(
        a_stream(tools=[{"type": "function", "name": "find"}]),
        a_chunk({"content": "let me see"}),
        a_chunk(a_call(0, name="find", arguments="")),
        a_chunk(a_call(0, arguments='{"q":')),
        a_chunk(a_call(1, name="read", arguments="{}")),
        a_chunk(a_call(0, arguments="1}")),
        a_chunk({}, "tool_calls"),
    )
    final = accumulated(events)
    assert final.status == "completed"
    assert [item.type for item in final.output] == ["message", "function_call", "function_call"]
    calls = [(item.name, item.arguments, item.call_id) for item in final.output if item.type == "function_call"]
    assert calls == [("find", '{"q":1}', "call_find"), ("read", "{}", "call_read")]


def test_calls_that_an_upstream_does_not_number_stay_apart() -> None:
    events = run(
        a_stream(),
        a_chunk(a_call(None, name="find", arguments="{")),
        a_chunk(a_call(None, arguments="}")),
        a_chunk(a_call(None, name="read", arguments="[]")),
        a_chunk({}, "tool_calls"),
    )
    assert [item.arguments for item in events[-1].response.output] == ["{}", "[]"]


def test_a_refusal_comes_as_refusal_events() -> None:
    events = run(a_stream(), a_chunk({"refusal": "n"}), a_chunk({"refusal": "o"}), a_chunk({}, "stop"))
    assert [event.type for event in events][3:7] == [
        "response.content_part.added",
        "response.refusal.delta",
        "response.refusal.delta",
        "response.refusal.done",
    ]
    assert events[-1].response.output[0].content[0].refusal == "no"


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_stream_that_was_cut_short_ends_as_incomplete(finish_reason: str, reason: str) -> None:
    events = run(a_stream(), a_chunk({"content": "a"}), a_chunk({}, finish_reason))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == reason
    assert events[-1].response.output[0].status == "incomplete"


def test_a_broken_stream_ends_as_failed_with_what_had_come() -> None:
    events = run(a_stream(), a_chunk({"content": "a"}), a_chunk({}, "stop"), error=DeadlineExceeded())
    assert [event.type for event in events[-2:]] == ["response.failed", "error"]
    failed, told = events[-2:]
    assert failed.response.status == "failed"
    assert failed.response.error.code == "server_error"
    assert failed.response.output[0].content[0].text == "a"
    assert failed.response.output[0].status == "incomplete"
    assert told.code == "deadline_exceeded"


@pytest.mark.parametrize(("error", "code"), [(RateLimited(), "rate_limit_exceeded"), (InternalError(), "server_error")])
def test_a_stream_that_breaks_before_it_began_is_still_whole(error: GatewayError, code: str) -> None:
    events = run(a_stream(), error=error)
    assert len(events) == 4
    assert events[2].response.error.code == code


def test_a_stream_that_says_nothing_completes_without_items() -> None:
    events = run(a_stream(), a_chunk({"role": "assistant"}), a_chunk({}, "stop"))
    assert accumulated(events).output == []


@pytest.mark.parametrize("calls", [3, [3], [{}], [{"function": 3}], [{"index": "a", "id": 3}]])
def test_tool_calls_that_make_no_sense_break_nothing(calls: Any) -> None:
    run(a_stream(), a_chunk({"tool_calls": calls, "content": ["x"]}), a_chunk({}, "stop"))


deltas = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(max_size=5)),
    st.builds(lambda text: {"refusal": text}, st.text(max_size=5)),
    st.builds(lambda index, text: a_call(index, arguments=text), st.integers(0, 2), st.text(max_size=5)),
)


@settings(deadline=None)  # the client's union of all events takes its time to validate
@given(st.lists(deltas, max_size=12), st.sampled_from(["stop", "tool_calls"]))
def test_what_is_done_equals_what_was_said(said: list[dict[str, Any]], finish_reason: str) -> None:
    events = run(a_stream(), *map(a_chunk, said), a_chunk({}, finish_reason))
    final = accumulated(events)
    assert final.output_text == "".join(delta.get("content", "") for delta in said)
    arguments: dict[int, str] = {}
    for delta in said:
        for call in delta.get("tool_calls", ()):
            arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
    assert [item.arguments for item in final.output if item.type == "function_call"] == list(arguments.values())
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    done = [event.output_index for event in events if event.type == "response.output_item.done"]
    assert added == done == list(range(len(final.output)))
