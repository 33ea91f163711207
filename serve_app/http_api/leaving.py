"""Work that ends when the client leaves, whatever server runs us."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection: nobody is left to answer."""


async def until_client_leaves(
    receive: Receive, work: Coroutine[Any, Any, T], discard: Callable[[T], Awaitable[None]] | None = None
) -> T:
    """The result of `work`; cancels it, waits for its end and raises ClientLeft when the client goes first.

    `discard` is given a result that nobody will take: one that came as the caller itself was cancelled.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        await _abandon(task, discard)
        raise
    finally:
        watcher.cancel()
    if task.done():
        return task.result()
    await _abandon(task, discard)
    raise ClientLeft


async def _abandon(task: asyncio.Future[T], discard: Callable[[T], Awaitable[None]] | None) -> None:
    task.cancel()
    await asyncio.wait((task,))
    # Its error is taken here: asyncio would log one that is not, with a text that may be private.
    if task.cancelled() or task.exception() is not None or discard is None:
        return
    await discard(task.result())


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
