"""Answers: the same each time, of the stated length, and plainly simulated."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.simulator.answers import Answer, Author, escape_pieces
from loadtests.simulator.chat_request import ChatRequest
from loadtests.simulator.tokens import count_tokens

AUTHOR = Author("simulator")
REQUEST = ChatRequest("m", "hello", 2, False, False, 1, None, None, None)
TOOL = {"name": "book", "parameters": {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}}
SCHEMA = {"type": "object", "properties": {"mood": {"enum": ["calm", "tense"]}, "score": {"type": "integer"}}}


def text_of(answer: Answer) -> Any:
    return orjson.loads(b'"%b"' % b"".join(answer.pieces))


def write(request: ChatRequest = REQUEST, *, choice: int = 0, seed: int = 1, num_tokens: int = 32) -> Answer:
    return AUTHOR.write(request, choice, seed=seed, num_tokens=num_tokens)


def test_an_answer_says_that_it_is_simulated() -> None:
    assert text_of(write()).startswith("Simulated answer from simulator: no model wrote this.")


def test_the_same_seed_and_prompt_give_the_same_answer() -> None:
    assert write() == write()


def test_another_prompt_seed_or_choice_gives_another_answer() -> None:
    others = [write(replace(REQUEST, prompt=f"hello {at}")) for at in range(20)]
    others += [write(seed=seed) for seed in range(2, 22)]
    others += [write(choice=choice) for choice in range(1, 20)]
    assert sum(text_of(other) != text_of(write()) for other in others) > 40


@given(num_tokens=st.integers(1, 700), limit=st.none() | st.integers(1, 700), prompt=st.text(max_size=20))
def test_the_length_is_exact_by_the_rule_for_tokens(num_tokens: int, limit: int | None, prompt: str) -> None:
    answer = write(replace(REQUEST, max_tokens=limit, prompt=prompt), num_tokens=num_tokens)
    expected = num_tokens if limit is None else min(limit, num_tokens)
    assert answer.num_tokens == count_tokens(text_of(answer)) == expected
    assert answer.finish_reason == ("length" if expected < num_tokens else "stop")


def test_a_tool_call_has_the_arguments_that_the_tool_asks_for() -> None:
    answer = write(replace(REQUEST, tool=TOOL))
    assert (answer.tool_name, answer.finish_reason) == (b"book", "tool_calls")
    assert orjson.loads(text_of(answer)) == {"day": "2026-01-31"}


def test_an_answer_in_json_satisfies_its_schema_whatever_the_natural_length() -> None:
    answer = write(replace(REQUEST, json_schema=SCHEMA, max_tokens=100), num_tokens=200)
    assert orjson.loads(text_of(answer)) == {"mood": "calm", "score": 1}
    assert answer.finish_reason == "stop"


def test_an_answer_in_json_that_is_cut_says_so() -> None:
    assert write(replace(REQUEST, json_schema=SCHEMA, max_tokens=2)).finish_reason == "length"


@given(st.text())
def test_pieces_are_the_inside_of_a_json_string(text: str) -> None:
    assert orjson.loads(b'"%b"' % b"".join(escape_pieces(text))) == text.rstrip()


@pytest.mark.parametrize("name", ['quo"ted', "back\\slash", "umläut"])
def test_any_name_can_be_signed_with(name: str) -> None:
    answer = Author(name).write(REQUEST, 0, seed=1, num_tokens=40)
    assert name in text_of(answer)
