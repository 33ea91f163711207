"""One router's part of the shared amounts: taken from at once while it suffices, filled again before it runs out.

Invariants: what is lent out here was granted by the owner under a lease that still runs; one trade at a time names a
meter; what was taken is given back by exactly one `settle`. In doubt the error is on the side of lending too little:
a reply that is lost makes what was used in one interval count twice. What can be lost: after an owner lost its memory,
the others may be lent what this router holds until it has claimed it again (a quarter of a lease at most); the same
where a trade that was given up reaches the owner after the next one; and a router that was cut off for a lease
overspends by what its requests in progress use.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

from serve_app.admission.part import Part, Waiter
from serve_app.contracts.allowance import Allowances, Balance, Meter, Order
from serve_app.errors import SharedStateUnavailable

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
MAX_PARTS_A_TRADE = 64
EVICTION_SCAN = 32


class PooledWallet:
    """Implements Wallet. `run` must be running, owned by the caller; `close` after it gives back what is left.

    `holder` is a name that no other run of any router has. `timeout_s` limits one trade. `clock` is monotonic.
    """

    def __init__(
        self,
        allowances: Allowances,
        holder: str,
        *,
        lease_s: float,
        sync_interval_s: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        max_meters: int = 10_000,
    ) -> None:
        self._allowances, self._holder = allowances, holder
        self._lease_s, self._sync_interval_s, self._timeout_s = lease_s, sync_interval_s, timeout_s
        self._clock, self._max_meters = clock, max_meters
        self._parts: dict[str, Part] = {}
        self._short: dict[str, Part] = {}
        self._wake = asyncio.Event()
        self._lease_ends_at_s = float("-inf")
        self._is_away = False

    async def take(self, meter: Meter, amount: int) -> bool:
        """As the port says. Does not yield to other tasks where this router's own part covers the amount."""
        now_s = self._clock()
        part = self._parts.get(meter.key)
        if part is not None and now_s < self._lease_ends_at_s and amount <= part.free and not part.waiters:
            part.touched_at_s = now_s
            part.take(amount)
            return True
        return await self._take_from_owner(meter, amount, now_s)

    def settle(self, meter: Meter, *, taken: int, used: int) -> None:
        part = self._part(meter, self._clock(), may_exceed=True)
        part.settle(taken, used)
        part.serve()

    def balance(self, meter: Meter) -> Balance | None:
        """`granted` is this router's own part, which is also in `left`."""
        part = self._parts.get(meter.key)
        if part is None or part.last is None:
            return None
        last = part.last
        resets_in_s = max(0.0, last.resets_in_s - (self._clock() - part.last_at_s))
        return Balance(meter.key, part.free, last.left + part.free, resets_in_s, last.is_scarce)

    async def run(self) -> None:
        """Trades at once for whoever waits, and each `sync_interval_s` whatever has something to say. Never returns."""
        loop = asyncio.get_running_loop()
        ticks_at = loop.time() + self._sync_interval_s
        try:
            async with asyncio.TaskGroup() as trades:
                while True:
                    await self._wait_until(ticks_at)
                    due = self._take_short()
                    if loop.time() >= ticks_at:
                        ticks_at = loop.time() + self._sync_interval_s
                        due = self._tick()
                    for batch in _batches(due):
                        trades.create_task(self._trade(batch))
                        # A trade marks its parts before it waits: nobody else may name them in between.
                        await asyncio.sleep(0)
        finally:
            for part in self._parts.values():
                self._fail_waiters(part)

    async def close(self) -> None:
        """Tells the owner what was used and gives back all that no request holds. `run` has ended before."""
        for part in self._parts.values():
            part.end()
        for batch in _batches([part for part in self._parts.values() if not part.is_forgettable]):
            await self._trade(batch)

    async def _take_from_owner(self, meter: Meter, amount: int, now_s: float) -> bool:
        if amount == 0:
            return True
        if self._is_away:
            raise SharedStateUnavailable(RETRY_AFTER_S)
        part = self._part(meter, now_s, may_exceed=False)
        part.touched_at_s = now_s
        waiter = Waiter(amount, asyncio.get_running_loop().create_future())
        part.waiters.append(waiter)
        self._ask_for(part)
        try:
            # A trade has its own limit; two of them may have to pass, and nobody waits longer whatever happens.
            async with asyncio.timeout(3 * self._timeout_s):
                return await waiter.answer
        except TimeoutError:
            self._withdraw(part, waiter)
            raise SharedStateUnavailable(RETRY_AFTER_S) from None
        except asyncio.CancelledError:
            self._withdraw(part, waiter)
            raise

    def _withdraw(self, part: Part, waiter: Waiter) -> None:
        """Whoever asked is gone: what was already handed over is free again."""
        answer = waiter.answer
        if answer.done() and not answer.cancelled() and answer.exception() is None and answer.result():
            self.settle(part.meter, taken=waiter.amount, used=0)
        else:
            answer.cancel()

    def _ask_for(self, part: Part) -> None:
        self._short[part.meter.key] = part
        self._wake.set()

    async def _wait_until(self, ends_at_s: float) -> None:
        """Until somebody is short, at most until that moment on the loop's clock."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends_at_s):
                await self._wake.wait()
        self._wake.clear()

    def _take_short(self) -> list[Part]:
        """Those that somebody waits for; one that is being traded for comes again when its answer is there."""
        short = [part for part in self._short.values() if part.waiters and not part.is_busy]
        self._short.clear()
        return short

    def _tick(self) -> list[Part]:
        now_s = self._clock()
        self._lapse_if_over(now_s)
        for key, part in list(self._parts.items()):
            part.tick()
            if part.is_forgettable and now_s - part.touched_at_s >= self._lease_s:
                del self._parts[key]
        return [part for part in self._parts.values() if part.is_due(now_s, self._lease_s)]

    async def _trade(self, parts: Sequence[Part]) -> None:
        """One round trip for these meters, none of which is in another now. After a failure each tick tries again."""
        sent_at_s = self._clock()
        self._lapse_if_over(sent_at_s)
        orders = [part.orders(sent_at_s, self._lease_s) for part in parts]
        flat: list[Order] = [order for each in orders for order in each]
        try:
            async with asyncio.timeout(self._timeout_s):
                balances = iter(await self._allowances.trade(self._holder, self._lease_s, flat))
        except asyncio.CancelledError:
            self._on_failure(parts)
            raise
        except Exception as error:  # noqa: BLE001 - a background loop: an owner of any kind may fail in any way
            if not self._is_away:
                log.warning("the owner of the shared counters does not answer: %s", type(error).__name__)
            self._is_away = True
            self._on_failure(parts)
            return
        self._on_answer(parts, [list(islice(balances, len(each))) for each in orders], sent_at_s)

    def _on_answer(self, parts: Sequence[Part], answers: Sequence[list[Balance]], sent_at_s: float) -> None:
        now_s = self._clock()
        if self._is_away:
            log.warning("the owner of the shared counters answers again")
        self._is_away = False
        # Where the old lease may have ended before the owner read this, it renewed nothing but what it was told of.
        self._lapse_if_over(now_s, but={part.meter.key for part in parts})
        self._lease_ends_at_s = max(self._lease_ends_at_s, sent_at_s + self._lease_s)
        for part, balances in zip(parts, answers, strict=True):
            part.agreed(balances, sent_at_s)
            part.serve()
            if part.waiters and len(balances) > 1 and not balances[-1].granted:
                part.refuse(balances[-1].left)
            if part.waiters:
                self._ask_for(part)

    def _on_failure(self, parts: Sequence[Part]) -> None:
        for part in parts:
            part.failed()
            self._fail_waiters(part)

    @staticmethod
    def _fail_waiters(part: Part) -> None:
        for waiter in part.waiters:
            if not waiter.answer.done():
                waiter.answer.set_exception(SharedStateUnavailable(RETRY_AFTER_S))
        part.waiters.clear()

    def _lapse_if_over(self, now_s: float, but: frozenset[str] | set[str] = frozenset()) -> None:
        if now_s < self._lease_ends_at_s:
            return
        for key, part in self._parts.items():
            if key not in but and (part.claim or part.told):
                part.lapse()

    def _part(self, meter: Meter, now_s: float, *, may_exceed: bool) -> Part:
        part = self._parts.get(meter.key)
        if part is None:
            if len(self._parts) >= self._max_meters and not self._forget_one() and not may_exceed:
                raise SharedStateUnavailable(RETRY_AFTER_S)
            part = self._parts[meter.key] = Part(meter, now_s)
        part.meter = meter
        return part

    def _forget_one(self) -> bool:
        for key, part in islice(self._parts.items(), EVICTION_SCAN):
            if part.is_forgettable:
                del self._parts[key]
                return True
        return False


def _batches(parts: Sequence[Part]) -> list[Sequence[Part]]:
    return [parts[start : start + MAX_PARTS_A_TRADE] for start in range(0, len(parts), MAX_PARTS_A_TRADE)]
