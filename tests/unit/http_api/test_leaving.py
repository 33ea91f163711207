import asyncio
import gc
import logging

import pytest
from starlette.types import Message

from serve_app.http_api.leaving import ClientLeft, until_client_leaves


class Client:
    """Its connection: `leave()` closes it."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}


async def test_work_that_ends_first_gives_its_result() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await until_client_leaves(Client().receive, work()) == "done"


async def test_work_that_fails_raises_its_own_error() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await until_client_leaves(Client().receive, work())


async def test_messages_that_are_no_disconnect_are_passed_over() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    with pytest.raises(ClientLeft):
        await until_client_leaves(receive, asyncio.sleep(60))
    assert messages == []


async def test_a_client_that_leaves_ends_the_work_before_its_leaving_is_told() -> None:
    client, ended = Client(), []

    async def work() -> None:
        try:
            client.leave()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append("work")

    with pytest.raises(ClientLeft):
        await until_client_leaves(client.receive, work())
    assert ended == ["work"]


async def test_a_cancelled_caller_ends_the_work_before_it_goes() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.append("work")

    task = asyncio.create_task(until_client_leaves(Client().receive, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["work"]


async def test_a_result_that_nobody_takes_any_more_is_discarded_properly() -> None:
    """The caller is cancelled in the very turn of the loop in which the work ends."""
    discarded: list[str] = []

    async def discard(result: str) -> None:
        discarded.append(result)

    for num_turns in range(6):
        finish = asyncio.Event()
        result = f"stream {num_turns}"

        async def work(finish: asyncio.Event = finish, result: str = result) -> str:
            await finish.wait()
            return result

        task = asyncio.create_task(until_client_leaves(Client().receive, work(), discard))
        await asyncio.sleep(0.001)
        finish.set()
        for _ in range(num_turns):
            await asyncio.sleep(0)
        task.cancel()
        (done,), _ = await asyncio.wait([task])
        taken = [] if done.cancelled() else [done.result()]
        assert taken + discarded in ([result], [])  # not begun: cancelled work has no result
        discarded.clear()
        if num_turns == 1:
            assert done.cancelled()


async def test_an_error_that_nobody_takes_any_more_is_not_shouted_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """asyncio logs an error that was never taken together with its text, which may be private."""
    client = Client()

    async def work() -> None:
        try:
            client.leave()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("private words") from None

    with caplog.at_level(logging.DEBUG), pytest.raises(ClientLeft):
        await until_client_leaves(client.receive, work())
    gc.collect()
    assert "private words" not in caplog.text
