"""From the request path to the ledger without waiting and without losing a row.

Invariants: a row is in the journal before `open` or `settle` returns, where the disk takes it. It is held, in the queue
or in the journal, until the ledger took it; delivery is at least once, and the row's id makes it once. Only a row that
finds neither room in the queue nor on the disk is lost, and counted. The ledger lets a final row replace an abandoned
one, and never the reverse.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from serve_app.accounting.backlog import Backlog, Orphan, Pin, adopt_one
from serve_app.accounting.journal import AttemptJournal, Segment
from serve_app.accounting.rows import to_line
from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Ledger
from serve_app.contracts.vocabulary import Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. `linger_s`: how long a row waits for company, as a call for each would cost as much as the attempt."""

    linger_s: float = 0.1
    first_pause_s: float = 0.1
    max_pause_s: float = 2.0
    record_limit_s: float = 5.0
    recover_every_s: float = 10.0


@dataclass(slots=True)
class _Queued:
    """`num_refusals`: how often the ledger refused this row alone between two batches that it took."""

    attempt: Attempt
    pin: Pin | None
    num_refusals: int = 0
    refused_after: int = -1


class LedgerOutbox:
    """Implements the AttemptSink port. One event loop owns it, and keeps `run` running for as long as rows may come."""

    _MAX_BATCH = 256
    _MAX_REFUSALS = 16

    def __init__(
        self,
        ledger: Ledger,
        journal: AttemptJournal,
        max_queued: int,
        *,
        pace: Pace = Pace(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._journal, self._max_queued = ledger, journal, max_queued
        self._pace, self._sleep, self._clock = pace, sleep, clock
        self._open: dict[str, tuple[Attempt, Segment | None]] = {}
        self._queue: deque[_Queued] = deque()
        self._backlog = Backlog()
        self._orphan: Orphan | None = None
        self._has_rows = asyncio.Event()
        self._batch_size, self._num_taken, self._num_failures = self._MAX_BATCH, 0, 0
        self._recover_at = float("-inf")
        self._is_losing = False
        self.num_lost = self.num_corrupt = 0

    @property
    def num_open(self) -> int:
        return len(self._open)

    @property
    def num_queued(self) -> int:
        """Final rows that the ledger has not taken yet, those that only the journal holds included."""
        return len(self._queue) + self._backlog.num_unread

    @property
    def num_journal_bytes(self) -> int:
        return self._journal.num_bytes

    @property
    def is_journal_writable(self) -> bool:
        return self._journal.is_writable

    def open(self, attempt: Attempt) -> None:
        """Of more than `max_queued` at once the oldest is given up as abandoned; should it settle, that holds."""
        if len(self._open) >= self._max_queued:
            self.settle(next(iter(self._open.values()))[0])
        segment, _ = self._append(attempt, is_final=False)
        self._open[attempt.id] = attempt, segment

    def settle(self, attempt: Attempt) -> None:
        _, opened_in = self._open.pop(attempt.id, (None, None))
        segment, num_bytes = self._append(attempt, is_final=True)
        if segment is not None and opened_in is not None:
            opened_in.release()
        has_room = len(self._queue) < self._max_queued
        if segment is not None and not (has_room and self._backlog.is_empty):
            self._backlog.add(segment, num_bytes)
        elif has_room:
            self._queue.append(_Queued(attempt, segment or opened_in))
        else:
            self._lose(opened_in)
        self._has_rows.set()

    async def run(self) -> None:
        """Sends batches until cancelled, and now and then looks for what routers that died have left."""
        while True:
            if self._clock() >= self._recover_at:
                self.recover()
            if not self._queue and not self._has_files:
                await self._until_rows()
                continue
            if len(self._queue) < self._MAX_BATCH and not self._has_files:
                await self._sleep(self._pace.linger_s)
            is_read = await self._refill()
            is_sent = await self._send_batch()
            if not (is_read and is_sent):
                await self._sleep(self._pause_s)

    def recover(self) -> bool:
        """Adopts what one dead process left, for `run` to deliver. False where there is nothing of that kind."""
        if self._orphan is not None and not self._orphan.is_done:
            return True
        try:
            self._orphan = adopt_one(self._journal.folder)
        except OSError as refusal:
            self._orphan = None
            log.warning("journal: the folder could not be searched: %s", type(refusal).__name__)
        self._recover_at = self._clock() + (0.0 if self._orphan else self._pace.recover_every_s)
        return self._orphan is not None

    async def flush(self, time_limit_s: float) -> None:
        """At a router's end, when `run` has ended: sends what is left. What is still open goes as abandoned.

        What the ledger does not take in time stays in the journal for the next process; without one, it is lost.
        """
        for attempt, _ in tuple(self._open.values()):
            self.settle(attempt)
        self._release_orphan()
        try:
            async with asyncio.timeout(time_limit_s):
                await self._send_rest()
        except TimeoutError:
            log.warning("no time left for the ledger")
        kept = [queued for queued in self._queue if queued.pin is not None]
        num_lost = len(self._queue) - len(kept)
        self._queue = deque(kept)
        if num_lost:
            self.num_lost += num_lost
            log.error("%d attempts reached neither the ledger nor the journal", num_lost)

    def close(self) -> None:
        """After `flush`, when nothing can settle any more: another process may adopt what is left from here on."""
        self._release_orphan()
        self._journal.close()

    async def _send_rest(self) -> None:
        while self._queue or not self._backlog.is_empty:
            is_read = await self._refill()
            if await self._send_batch() and is_read:
                continue
            if all(queued.pin is not None for queued in self._queue):
                return
            await self._sleep(self._pause_s)

    async def _until_rows(self) -> None:
        self._has_rows.clear()
        try:
            async with asyncio.timeout(self._pace.recover_every_s):
                await self._has_rows.wait()
        except TimeoutError:
            return

    def _append(self, attempt: Attempt, *, is_final: bool) -> tuple[Segment | None, int]:
        try:
            line = to_line(attempt, is_final=is_final)
        except TypeError:
            log.warning("an attempt could not be written down; it is held in memory only")
            return None, 0
        return self._journal.append(line), len(line)

    def _lose(self, pin: Pin | None) -> None:
        self.num_lost += 1
        if pin is not None:
            pin.release()
        if not self._is_losing:
            self._is_losing = True
            log.error("attempts are lost from here on: neither the queue nor the disk has room")

    @property
    def _has_files(self) -> bool:
        return not self._backlog.is_empty or (self._orphan is not None and not self._orphan.is_read)

    async def _refill(self) -> bool:
        """While the queue is short: the next rows out of files, our own first. False where reading failed."""
        if len(self._queue) >= self._MAX_BATCH or not self._has_files:
            return True
        source = self._orphan if self._orphan is not None and self._backlog.is_empty else self._backlog
        try:
            chunk = await source.read()
        except OSError as refusal:
            log.warning("journal: a file could not be read: %s", type(refusal).__name__)
            if source is self._orphan:
                self._release_orphan()
            return False
        self.num_corrupt += chunk.num_corrupt
        self._queue.extend(_Queued(attempt, chunk.pin) for attempt in chunk.attempts)
        return True

    def _release_orphan(self) -> None:
        if self._orphan is not None and not self._orphan.is_done:
            self._orphan.close()
        self._orphan = None

    async def _send_batch(self) -> bool:
        """The head of the queue. No id comes twice in a batch: what ended stands before what was abandoned."""
        batch = list(itertools.islice(self._queue, self._batch_size))
        rows: dict[str, Attempt] = {}
        for queued in batch:
            if queued.attempt.id not in rows or queued.attempt.outcome is not Outcome.ABANDONED:
                rows[queued.attempt.id] = queued.attempt
        if not rows:
            return True
        try:
            async with asyncio.timeout(self._pace.record_limit_s):
                await self._ledger.record(tuple(rows.values()))
        except Exception as error:  # noqa: BLE001 - a background loop: whatever the ledger raises must not end it
            self._note_refusal(batch, error)
            return False
        for queued in batch:
            self._queue.popleft()
            if queued.pin is not None:
                queued.pin.release()
        self._note_taken()
        return True

    @property
    def _pause_s(self) -> float:
        return min(self._pace.max_pause_s, self._pace.first_pause_s * 2.0 ** min(self._num_failures - 1, 16))

    def _note_taken(self) -> None:
        if self._num_failures:
            log.warning("the ledger takes attempts again, after %d calls that failed", self._num_failures)
        if self._is_losing:
            log.error("%d attempts were lost so far", self.num_lost)
        self._num_failures, self._is_losing = 0, False
        self._num_taken += 1
        self._batch_size = min(self._MAX_BATCH, self._batch_size * 2)

    def _note_refusal(self, batch: list[_Queued], error: Exception) -> None:
        """Smaller and smaller batches find the one row, if it is one, that the ledger will never take."""
        if not self._num_failures:
            log.warning("the ledger does not take attempts: %s", type(error).__name__)
        self._num_failures += 1
        self._batch_size = max(1, len(batch) // 2)
        if len(batch) == 1:
            self._put_last(batch[0])

    def _put_last(self, queued: _Queued) -> None:
        """Out of the way of the others; and for ever, once it alone was refused while others were taken."""
        if queued.refused_after != self._num_taken:
            queued.refused_after = self._num_taken
            queued.num_refusals += 1
        if queued.num_refusals < self._MAX_REFUSALS:
            self._queue.rotate(-1)
            return
        self._queue.popleft()
        self.num_lost += 1
        log.error("attempt %s is given up: the ledger takes others, and never this one", queued.attempt.id)
        if queued.pin is not None:
            queued.pin.release()
