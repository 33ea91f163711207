"""Whole answers and streams in OpenAI's form."""

import json
from dataclasses import replace
from typing import Any

from loadtests.simulator.answers import Author
from loadtests.simulator.chat_request import ChatRequest
from loadtests.simulator.frames import Naming, StreamFrames, whole

REQUEST = ChatRequest('mo"del', "hello", 2, True, True, 2, None, None, None)
TOOL = {"name": "book", "parameters": {"type": "object", "properties": {"day": {"type": "string"}}}}
NAMING = Naming(7, 1_700_000_000, b'"mo\\"del"')
AUTHOR = Author("simulator")


def events_of(frames: StreamFrames) -> list[dict[str, Any]]:
    sent = frames.opening() + b"".join(frames.contents()) + frames.finish() + frames.usage()
    return [json.loads(event.removeprefix(b"data: ")) for event in sent.split(b"\n\n") if event]


def test_a_whole_answer_and_a_stream_say_the_same() -> None:
    answers = [AUTHOR.write(REQUEST, choice, seed=1, num_tokens=20) for choice in range(2)]
    plain = json.loads(whole(NAMING, REQUEST, answers))
    streamed = ["", ""]
    for event in events_of(StreamFrames(NAMING, REQUEST, answers)):
        assert (event["id"], event["model"]) == (plain["id"], plain["model"])
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert streamed == [choice["message"]["content"] for choice in plain["choices"]]
    assert plain["usage"] == {"prompt_tokens": 2, "completion_tokens": 40, "total_tokens": 42}


def test_the_usage_event_is_the_last_and_the_only_one_that_counts() -> None:
    answers = [AUTHOR.write(REQUEST, choice, seed=1, num_tokens=20) for choice in range(2)]
    *others, last = events_of(StreamFrames(NAMING, REQUEST, answers))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 40
    assert all(event["usage"] is None for event in others)


def test_without_the_wish_no_event_speaks_of_usage() -> None:
    request = replace(REQUEST, wants_usage=False, num_choices=1)
    frames = StreamFrames(NAMING, request, [AUTHOR.write(request, 0, seed=1, num_tokens=5)])
    assert all("usage" not in event for event in events_of(frames))


def test_a_tool_call_comes_in_pieces_that_join_to_its_arguments() -> None:
    request = replace(REQUEST, tool=TOOL, num_choices=1)
    answer = AUTHOR.write(request, 0, seed=1, num_tokens=5)
    opening, *pieces, finish, _ = events_of(StreamFrames(NAMING, request, [answer]))
    assert opening["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "book"
    arguments = "".join(piece["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] for piece in pieces)
    assert json.loads(arguments) == {"day": "simulated"}
    assert len(pieces) == answer.num_tokens > 2
    assert finish["choices"][0]["finish_reason"] == "tool_calls"
