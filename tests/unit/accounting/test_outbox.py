"""The outbox takes rows without waiting and hands each to the ledger, in order, unless it is full."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from serve_app.accounting.outbox import LedgerOutbox
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Claim, StoredAnswer
from serve_app.errors import InternalError
from tests.fakes.builders import an_attempt


class SlowLedger:
    """Takes a batch when it is let; fails as many times as it is told."""

    def __init__(self, *, num_failures: int = 0, is_open: bool = True) -> None:
        self.num_failures = num_failures
        self.batches: list[list[int]] = []
        self.num_calls = 0
        self.may_take = asyncio.Event()
        self._changed = asyncio.Condition()
        if is_open:
            self.may_take.set()

    async def record(self, attempts: Sequence[Attempt]) -> None:
        async with self._changed:
            self.num_calls += 1
            self._changed.notify_all()
        await self.may_take.wait()
        if self.num_failures:
            self.num_failures -= 1
            raise InternalError
        async with self._changed:
            self.batches.append([attempt.number for attempt in attempts])
            self._changed.notify_all()

    async def claim(self, tenant_id: str, key: str, body_digest: bytes) -> Claim:
        raise NotImplementedError

    async def keep_answer(self, tenant_id: str, key: str, body_digest: bytes, answer: StoredAnswer | None) -> None:
        raise NotImplementedError

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(2.0), self._changed:
            await self._changed.wait_for(lambda: len(self.numbers) >= count)

    async def until_called(self, count: int) -> None:
        async with asyncio.timeout(2.0), self._changed:
            await self._changed.wait_for(lambda: self.num_calls >= count)

    @property
    def numbers(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


class EagerOutbox(LedgerOutbox):
    """Does not pause between failures."""

    _PAUSE_S = 0.0


@contextlib.asynccontextmanager
async def running(outbox: LedgerOutbox) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def put(outbox: LedgerOutbox, *numbers: int) -> None:
    for number in numbers:
        outbox.put(an_attempt(number=number))


async def test_rows_arrive_in_order_whenever_they_were_put() -> None:
    ledger = SlowLedger()
    outbox = LedgerOutbox(ledger, max_queued=10)
    put(outbox, 1, 2)
    async with running(outbox):
        await ledger.until_taken(2)
        put(outbox, 3)
        await ledger.until_taken(3)
    assert ledger.batches == [[1, 2], [3]]
    assert outbox.num_lost == 0


async def test_put_never_waits_for_a_ledger_that_hangs() -> None:
    ledger = SlowLedger(is_open=False)
    outbox = LedgerOutbox(ledger, max_queued=3)
    async with running(outbox):
        put(outbox, 1)
        await ledger.until_called(1)
        put(outbox, 2, 3, 4)
        assert ledger.batches == []
        ledger.may_take.set()
        await ledger.until_taken(3)
    assert ledger.numbers == [1, 2, 3]
    assert outbox.num_lost == 1


async def test_a_full_queue_loses_its_newest_counts_it_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    outbox = LedgerOutbox(SlowLedger(), max_queued=2)
    with caplog.at_level(logging.ERROR):
        put(outbox, 1, 2, 3, 4)
    assert outbox.num_lost == 2
    assert [record.getMessage() for record in caplog.records] == [
        "ledger queue full: 1 attempts lost so far",
        "ledger queue full: 2 attempts lost so far",
    ]


async def test_an_emptied_queue_has_room_again() -> None:
    ledger = SlowLedger()
    outbox = LedgerOutbox(ledger, max_queued=1)
    async with running(outbox):
        for number in (1, 2, 3):
            put(outbox, number)
            await ledger.until_taken(number)
    assert outbox.num_lost == 0


async def test_what_the_ledger_did_not_take_is_sent_again_before_anything_newer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = SlowLedger(num_failures=3)
    outbox = EagerOutbox(ledger, max_queued=10)
    put(outbox, 1, 2)
    with caplog.at_level(logging.WARNING):
        async with running(outbox):
            await ledger.until_called(2)
            put(outbox, 3)
            await ledger.until_taken(3)
    assert ledger.numbers == [1, 2, 3]
    assert len(caplog.records) == 3
    assert caplog.records[0].getMessage() == "ledger did not take 2 attempts: InternalError"


async def test_between_failures_it_pauses() -> None:
    ledger = SlowLedger(num_failures=1)
    outbox = LedgerOutbox(ledger, max_queued=10)
    put(outbox, 1)
    async with running(outbox):
        await ledger.until_called(1)
        await asyncio.sleep(0.01)
        assert ledger.num_calls == 1


async def test_a_long_queue_goes_out_in_batches_that_lose_and_repeat_nothing() -> None:
    ledger = SlowLedger()
    outbox = LedgerOutbox(ledger, max_queued=1000)
    put(outbox, *range(600))
    async with running(outbox):
        await ledger.until_taken(600)
    assert [len(batch) for batch in ledger.batches] == [256, 256, 88]
    assert ledger.numbers == list(range(600))


async def test_it_ends_when_it_is_cancelled() -> None:
    task = asyncio.create_task(LedgerOutbox(SlowLedger(), max_queued=1).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
