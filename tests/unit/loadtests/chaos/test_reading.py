"""What a client makes of an answer's bytes, however they were cut."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loadtests.chaos.reading import Reading, StreamReader, read_whole

CHUNKS = [
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
    {"model": "m", "choices": [{"index": 0, "delta": {"content": " du"}, "finish_reason": None}]},
    {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"model": "m", "choices": []},
]
STREAM = b": wait\n\n" + b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in CHUNKS)


def read_stream(*parts: bytes) -> Reading:
    reader = StreamReader()
    for part in parts:
        reader.feed(part)
    return reader.reading


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_a_stream_reads_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    body = STREAM + b"data: [DONE]\n\n"
    places = [0, *cuts, len(body)]
    reading = read_stream(*(body[a:b] for a, b in pairwise(places)))
    assert (reading.text, reading.finish_reason, reading.is_done, reading.num_chunks) == ("Hi du", "stop", True, 2)
    assert reading.num_comments == 1
    assert reading.models == {"m"}
    assert reading.problem is None


def test_a_stream_cut_in_an_event_leaves_it_unread_and_is_not_done() -> None:
    reading = read_stream(STREAM[:-9])
    assert not reading.is_done
    assert reading.finish_reason == "stop"
    assert reading.problem is None


def test_an_error_event_is_kept_as_it_was_sent() -> None:
    reading = read_stream(b'data: {"error": {"code": "upstream_broken"}}\n\n')
    assert reading.error == {"code": "upstream_broken"}


def test_rubbish_is_a_problem() -> None:
    assert read_stream(b"data: rubbish\n\n").problem is not None
    assert read_stream(b'data: {"no": "choices"}\n\n').problem is not None
    assert read_whole(b"<html>").problem is not None
    assert read_whole(b"[]").problem is not None


def test_a_whole_answer_is_read_like_a_stream() -> None:
    body = {"model": "m", "choices": [{"message": {"content": "Hi du"}, "finish_reason": "stop"}]}
    reading = read_whole(json.dumps(body).encode())
    assert (reading.text, reading.finish_reason, reading.is_done) == ("Hi du", "stop", True)
    assert read_whole(b'{"error": {"code": "x"}}').error == {"code": "x"}


def test_the_arguments_of_a_tool_call_are_its_text() -> None:
    call = {"index": 0, "function": {"arguments": '{"day"'}}
    event = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]}
    assert read_stream(b"data: %b\n\n" % json.dumps(event).encode()).text == '{"day"'
