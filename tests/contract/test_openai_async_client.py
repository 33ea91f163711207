"""The official client, asynchronous, and many of its calls at once."""

import asyncio
import json

import openai
import pytest

from tests.contract.test_openai_client import BOOKING, CONFIDENTIAL, FORCED, GREETING, HARD, TOOL
from tests.fakes.targets import Target


async def test_a_chat_is_answered(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model="auto", messages=GREETING, max_tokens=8)
    assert answer.choices[0].message.content


async def test_a_stream_comes_in_pieces(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model="auto", messages=HARD, stream=True)
    async with stream:
        chunks = [chunk async for chunk in stream]
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 3
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_tool_is_called(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(
        model="auto", messages=GREETING, tools=[TOOL], tool_choice=FORCED
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == BOOKING


async def test_a_response_is_streamed(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.responses.stream(model="cloud", input="Hello!") as stream:
        kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


async def test_embeddings_and_models_are_given(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.embeddings.create(model="auto", input="one", dimensions=8)
    assert len(answer.data[0].embedding) == 8
    assert "auto" in [model.id async for model in async_client.models.list()]


async def test_errors_are_the_clients_own(async_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await async_client.chat.completions.create(model="auto", messages=[])
    with pytest.raises(openai.NotFoundError):
        await async_client.chat.completions.create(model="gpt-99", messages=GREETING)
    with pytest.raises(openai.PermissionDeniedError):
        await async_client.chat.completions.create(model="cloud", messages=GREETING, extra_headers=CONFIDENTIAL)


async def test_many_at_once_are_all_answered_and_none_gets_anothers_answer(
    async_client: openai.AsyncOpenAI, target: Target
) -> None:
    async def one(number: int) -> tuple[str | None, str]:
        raw = await async_client.chat.completions.with_raw_response.create(
            model="cloud",
            messages=[{"role": "user", "content": "word " * (number + 1)}],
            extra_headers={"X-Request-Id": f"many-{number}"},
        )
        usage = raw.parse().usage
        assert usage is not None
        assert usage.prompt_tokens == number + 1
        return raw.headers.get("x-request-id"), raw.headers["x-upcoach-upstream"]

    answers = await asyncio.gather(*(one(number) for number in range(48)))
    assert answers == [(f"many-{number}", "simulator") for number in range(48)]
    assert target.cloud.served()["completed"] == 48


async def test_a_client_that_leaves_a_stream_stops_the_upstream_within_a_second(
    async_client: openai.AsyncOpenAI, target: Target
) -> None:
    target.cloud.behave(fault="never_finish", tokens_per_s=50)
    stream = await async_client.chat.completions.create(model="cloud", messages=GREETING, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    assert target.cloud.served()["in_flight"] == 1
    await stream.close()
    await check_idle_within_a_second(target)
    assert target.cloud.served()["aborted"] == 1


async def test_a_client_that_leaves_before_the_first_token_stops_the_upstream_within_a_second(
    async_client: openai.AsyncOpenAI, target: Target
) -> None:
    target.cloud.behave(fault="hang")
    asking = asyncio.create_task(async_client.chat.completions.create(model="cloud", messages=GREETING, stream=True))
    for _ in range(200):
        if target.cloud.served()["in_flight"]:
            break
        await asyncio.sleep(0.02)
    asking.cancel()
    await check_idle_within_a_second(target)
    assert target.cloud.served()["aborted"] == 1
    assert target.fallback.served()["started"] == 0


async def check_idle_within_a_second(target: Target) -> None:
    for _ in range(50):
        if not target.cloud.served()["in_flight"]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the upstream still runs")
