"""Waits that end: with the request's deadline, or with a limit of their own where that comes first."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve_app.contracts.deadline import Deadline
from serve_app.errors import DeadlineExceeded


class LimitPassed(Exception):
    """The limit of one wait passed while the request still has time."""


@asynccontextmanager
async def within(deadline: Deadline, limit_s: float = math.inf) -> AsyncIterator[None]:
    """Raises DeadlineExceeded when the deadline ends the block, LimitPassed when the limit does."""
    remaining_s = deadline.remaining_s()
    # A timer strikes only where the block waits: what is always ready would pass its deadline unseen.
    deadline.check()
    if limit_s <= 0.0:
        raise LimitPassed
    try:
        async with asyncio.timeout(min(remaining_s, limit_s)):
            yield
    except TimeoutError:
        raise (DeadlineExceeded if remaining_s <= limit_s else LimitPassed) from None
