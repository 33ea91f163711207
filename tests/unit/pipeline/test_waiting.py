"""A wait ends with the deadline or its own limit, also where there is nothing to wait for."""

import pytest

from serve_app.contracts.deadline import Deadline
from serve_app.errors import DeadlineExceeded
from serve_app.pipeline.waiting import LimitPassed, within


async def test_a_deadline_that_has_passed_ends_a_block_that_never_waits() -> None:
    with pytest.raises(DeadlineExceeded):
        async with within(Deadline.after(-1.0)):
            pass


async def test_a_limit_that_has_passed_ends_a_block_that_never_waits() -> None:
    with pytest.raises(LimitPassed):
        async with within(Deadline.after(5.0), 0.0):
            pass


async def test_a_block_within_both_goes_through() -> None:
    async with within(Deadline.after(5.0), 5.0):
        pass
