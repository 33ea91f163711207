"""From the request path to the ledger without waiting: a bounded queue and one task that empties it."""

import asyncio
import logging
from collections import deque

from serve_app.contracts.attempt import Attempt
from serve_app.contracts.ledger import Ledger

log = logging.getLogger(__name__)


class LedgerOutbox:
    """`put` never waits. A full queue loses its newest row, counts it in `num_lost` and says so in the log."""

    _BATCH = 256
    _PAUSE_S = 1.0

    def __init__(self, ledger: Ledger, max_queued: int, *, linger_s: float = 0.1) -> None:
        """`linger_s`: how long a row waits for company. A call an attempt would cost as much as the attempt itself."""
        self._ledger, self._max_queued, self._linger_s = ledger, max_queued, linger_s
        self._queue: deque[Attempt] = deque()
        self._has_rows = asyncio.Event()
        self.num_lost = 0

    def put(self, attempt: Attempt) -> None:
        if len(self._queue) >= self._max_queued:
            self.num_lost += 1
            log.error("ledger queue full: %d attempts lost so far", self.num_lost)
            return
        self._queue.append(attempt)
        self._has_rows.set()

    async def run(self) -> None:
        """Sends batches until cancelled; a batch that the ledger did not take stays at the head of the queue."""
        while True:
            await self._has_rows.wait()
            await asyncio.sleep(self._linger_s)
            if not await self._send_batch():
                await asyncio.sleep(self._PAUSE_S)

    async def flush(self, time_limit_s: float) -> None:
        """Sends what is left when the router ends; what the ledger does not take in time is lost, and counted."""
        try:
            async with asyncio.timeout(time_limit_s):
                while self._queue and await self._send_batch():
                    pass
        except TimeoutError:
            log.warning("no time left for the ledger")
        if self._queue:
            self.num_lost += len(self._queue)
            log.error("%d attempts never reached the ledger", len(self._queue))

    async def _send_batch(self) -> bool:
        batch = [self._queue[position] for position in range(min(self._BATCH, len(self._queue)))]
        try:
            await self._ledger.record(batch)
        except Exception as error:  # noqa: BLE001 - a background loop: whatever the ledger raises must not end it
            log.warning("ledger did not take %d attempts: %s", len(batch), type(error).__name__)
            return False
        for _ in batch:
            self._queue.popleft()
        if not self._queue:
            self._has_rows.clear()
        return True
