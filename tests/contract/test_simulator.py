"""The simulated provider as a process, under the official client, and its control plane."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from loadtests.simulator.__main__ import main
from loadtests.simulator.faults import Fault
from loadtests.simulator.process import running_simulator
from loadtests.simulator.tokens import count_tokens

MESSAGES: Any = [{"role": "user", "content": "How do I keep a habit?"}]
NUM_PROMPT_TOKENS = count_tokens("How do I keep a habit?")
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "book_session",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string", "format": "date"}, "minutes": {"type": "integer", "minimum": 30}},
            "required": ["day", "minutes"],
        },
    },
}
BOOKING = {"day": "2026-01-31", "minutes": 30}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_simulator() as simulator:
        yield simulator.address


@pytest.fixture
def control(address: str) -> Iterator[httpx.Client]:
    """The control plane of a simulator that has served nothing yet."""
    with httpx.Client(base_url=f"{address}/_sim") as client:
        client.post("/reset").raise_for_status()
        yield client


@pytest.fixture
def client(address: str, control: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="k-secret", max_retries=0, timeout=5.0) as found:
        yield found


def served(control: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = control.get("/served").json()
    return found


def test_a_chat_is_answered_plainly_as_simulated_and_counted_exactly(
    client: openai.OpenAI, control: httpx.Client
) -> None:
    answer = client.chat.completions.create(model="any", messages=MESSAGES, extra_headers={"X-Request-Id": "r1"})
    text = answer.choices[0].message.content
    assert text is not None
    assert text.startswith("Simulated answer from simulator")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (NUM_PROMPT_TOKENS, count_tokens(text))
    tally = served(control)
    assert (tally["started"], tally["completed"], tally["completion_tokens"]) == (1, 1, count_tokens(text))
    assert tally["by_request_id"]["r1"]["completed"] == 1


def test_a_stream_says_the_same_as_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="any", messages=MESSAGES)
    chunks = list(
        client.chat.completions.create(
            model="any", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_several_choices_differ_and_a_limit_cuts(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="any", messages=MESSAGES, n=3, max_completion_tokens=20)
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 60


def test_a_required_tool_is_called_with_valid_arguments(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any",
        messages=MESSAGES,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "book_session"}},
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == BOOKING
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_streamed_tool_call_comes_in_pieces(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="any", messages=[{"role": "user", "content": "please book_session for me"}], tools=[TOOL]
    ) as stream:
        num_pieces = sum(event.type == "tool_calls.function.arguments.delta" for event in stream)
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert num_pieces > 3
    assert json.loads(call.function.arguments) == BOOKING


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "booking", "schema": TOOL["function"]["parameters"]}},
    ],
)
def test_an_answer_in_json_is_json(client: openai.OpenAI, wanted: Any) -> None:
    answer = client.chat.completions.create(model="any", messages=MESSAGES, response_format=wanted)
    value = json.loads(answer.choices[0].message.content or "")
    assert value == (BOOKING if wanted["type"] == "json_schema" else {"simulated": True})


def test_embeddings_are_the_same_in_both_encodings(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(model="any", input=["one", "two"], encoding_format="float", dimensions=8)
    packed = client.embeddings.create(model="any", input=["one", "two"], dimensions=8)  # asks for base64
    assert [row.embedding for row in plain.data] == [pytest.approx(row.embedding) for row in packed.data]
    assert plain.usage.prompt_tokens == 2
    assert client.embeddings.create(model="any", input=[5, 6, 7]).usage.prompt_tokens == 3


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["simulator"]


async def test_the_async_client_chats_and_streams(address: str, control: httpx.Client) -> None:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as client:
        whole = await client.chat.completions.create(model="any", messages=MESSAGES)
        stream = await client.chat.completions.create(model="any", messages=MESSAGES, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == whole.choices[0].message.content


def test_wrong_requests_are_refused_in_openais_shape_and_counted_as_rejected(
    client: openai.OpenAI, control: httpx.Client
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="any", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="sim-fault-explode", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="any", input=[])
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("any")
    assert served(control)["rejected"] == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.HTTP_500, openai.InternalServerError),
        (Fault.HTTP_503, openai.InternalServerError),
        (Fault.RATE_LIMITED, openai.RateLimitError),
        (Fault.UNAUTHORIZED, openai.AuthenticationError),
        (Fault.BAD_REQUEST, openai.BadRequestError),
        (Fault.REFUSE, openai.APIConnectionError),
    ],
)
def test_the_official_client_knows_each_refusal(client: openai.OpenAI, fault: Fault, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.chat.completions.create(model=f"sim-fault-{fault}", messages=MESSAGES)
    with pytest.raises(error):
        client.embeddings.create(model=f"sim-fault-{fault}", input="x")


def test_a_behaviour_holds_for_all_requests_until_it_is_given_back(
    client: openai.OpenAI, control: httpx.Client
) -> None:
    control.put("/behaviour", json={"fault": "rate_limited", "retry_after_s": 3}).raise_for_status()
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="any", messages=MESSAGES)
    assert caught.value.response.headers["retry-after"] == "3"
    assert control.put("/behaviour", json={}).json()["fault"] is None
    client.chat.completions.create(model="any", messages=MESSAGES)


def test_an_unknown_key_of_a_behaviour_is_named_with_the_nearest(control: httpx.Client) -> None:
    answer = control.put("/behaviour", json={"tft_ms": 5})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "unknown key 'tft_ms'; did you mean 'ttft_ms'?"
    assert control.get("/behaviour").json()["ttft_ms"] == 0


def test_delays_hold_for_streams_and_whole_answers(client: openai.OpenAI, control: httpx.Client) -> None:
    control.put("/behaviour", json={"ttft_ms": 100, "tokens_per_s": 100, "jitter": 0, "num_tokens": 11})
    started = time.monotonic()
    client.chat.completions.create(model="any", messages=MESSAGES)
    assert 0.2 <= time.monotonic() - started < 2.0
    started = time.monotonic()
    stamps = [
        time.monotonic() - started
        for chunk in client.chat.completions.create(model="any", messages=MESSAGES, stream=True)
        if chunk.choices[0].delta.content
    ]
    assert stamps[0] >= 0.1
    assert 0.09 <= stamps[-1] - stamps[0] < 2.0


def test_the_last_requests_show_header_names_but_no_private_values(
    client: openai.OpenAI, control: httpx.Client
) -> None:
    client.chat.completions.create(model="any", messages=MESSAGES, extra_headers={"X-Request-Id": "r9"})
    answer = control.get("/last")
    (seen,) = answer.json()["requests"]
    assert "authorization" in seen["header_names"]
    assert seen["headers"]["x-request-id"] == "r9"
    assert seen["body_bytes"] > 20
    assert "k-secret" not in answer.text
    assert "habit" not in answer.text


def test_unknown_paths_and_methods_are_refused(address: str) -> None:
    assert httpx.get(f"{address}/v2/nothing").status_code == 404
    assert httpx.get(f"{address}/v1/chat/completions").status_code == 405
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}


def test_a_port_that_is_taken_ends_with_a_sentence(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", address.rpartition(":")[2]]) == 1
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--jitter", "9"], ["--fault", "explode"], ["--tft-ms", "3"]])
def test_a_wrong_flag_ends_with_a_sentence(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(flags)
    assert flags[0].lstrip("-") in capsys.readouterr().err
