"""One router's part of one meter, as arithmetic alone: what to tell the owner, and what its answer changes.

Each trade states the whole claim anew - give all back, take exactly this - and not only what changed. So a reply that
was lost and an owner that forgot everything are both put right by the next trade. What was used is stated until an
answer came: where only the answer was lost it counts twice, and never not at all.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from serve_app.contracts.allowance import Balance, Meter, MeterKind, Order

RETURN_ALL = 2**53 - 1
"""More than anybody holds; the owner takes back what there is."""

AHEAD = 4
"""So many intervals' worth is kept ready where others do not need it; at half of it more is asked for."""


@dataclass(slots=True)
class Waiter:
    amount: int
    answer: asyncio.Future[bool]


@dataclass(slots=True)
class Part:
    """`free` may be taken, `set_aside` is in requests' hands, `used` was not yet acknowledged; in the meter's units.

    `told`: what the owner last said that we hold. `is_unsure`: a trade since then got no answer. `is_stale`: the lease
    ended, so that `free` is nobody's until the owner has agreed to a claim again.
    """

    meter: Meter
    touched_at_s: float
    free: int = 0
    set_aside: int = 0
    used: int = 0
    told: int = 0
    told_at_s: float = float("-inf")
    last: Balance | None = None
    last_at_s: float = float("-inf")
    is_busy: bool = False
    is_unsure: bool = False
    is_stale: bool = False
    waiters: deque[Waiter] = field(default_factory=deque)
    _flow: int = 0
    _demand: int = 0
    _sent_used: int = 0
    _sent_claim: int = 0

    @property
    def claim(self) -> int:
        return self.free + self.set_aside

    @property
    def is_forgettable(self) -> bool:
        """The owner knows of nothing, and there is nothing that it should know."""
        return not (self.claim or self.used or self.told or self.is_unsure or self.is_busy or self.waiters)

    def take(self, amount: int) -> None:
        self.free -= amount
        self.set_aside += amount
        self._flow = max(self._flow, self.set_aside) if self._is_level else self._flow + amount

    def settle(self, taken: int, used: int) -> None:
        """What was used beyond `taken` comes out of what is free here, as far as that goes."""
        self.set_aside -= taken
        self.used += used
        if not self.is_stale:
            self.free = max(0, self.free + taken - used)

    def lapse(self) -> None:
        """The owner lends what was free here to others now. What requests hold stays theirs, and is claimed again."""
        self.free, self.is_stale = 0, True

    def end(self) -> None:
        """Nothing will be taken any more."""
        self.lapse()
        self._flow = self._demand = 0

    def tick(self) -> None:
        """One interval is over: what flowed through in it is what the next may need."""
        self._demand = max(self._flow, self._demand // 2)
        self._flow = self.set_aside if self._is_level else 0

    def is_due(self, now_s: float, lease_s: float) -> bool:
        """Whether the owner should hear of it; all that is held at least four times a lease."""
        if self.is_busy:
            return False
        has_news = self.used or self.is_unsure or self.is_stale or self.waiters
        is_off = 2 * self.free < self._ahead() or self._surplus(now_s, lease_s)
        return bool(has_news or is_off or ((self.claim or self.told) and now_s - self.told_at_s >= lease_s / 4))

    def orders(self, now_s: float, lease_s: float) -> list[Order]:
        """The claim, and what is wanted on top of it. Until `told` or `failed` no other trade may name this meter."""
        self.is_busy = True
        self.free -= self._surplus(now_s, lease_s)
        self._sent_used, self._sent_claim = self.used, self.claim
        orders = [Order(self.meter, self.used, RETURN_ALL, wanted=self.claim, at_least=self.claim)]
        waited_for = sum(waiter.amount for waiter in self.waiters)
        wanted = waited_for + self._ahead() - self.free
        at_least = self.waiters[0].amount - self.free if self.waiters else 0
        if wanted > 0 and (self.waiters or 2 * self.free < self._ahead()):
            orders.append(Order(self.meter, wanted=wanted, at_least=at_least))
        return orders

    def agreed(self, balances: list[Balance], sent_at_s: float) -> None:
        """Takes the answer to `orders`. An owner that cannot cover the claim lends nothing for what is free here."""
        self.used -= self._sent_used
        self.is_busy = self.is_unsure = self.is_stale = False
        claimed, *wanted = balances
        gained = sum(balance.granted for balance in wanted)
        is_covered = claimed.granted == self._sent_claim
        self.free = (self.free if is_covered else 0) + gained
        # What requests hold without cover is claimed again with the next tick.
        self.told_at_s = sent_at_s if is_covered else float("-inf")
        self.told, self.last, self.last_at_s = claimed.granted + gained, balances[-1], sent_at_s

    def failed(self) -> None:
        """Nobody knows whether the owner heard it."""
        self.is_busy, self.is_unsure = False, True

    def serve(self) -> None:
        """Hands what is free to those who wait, in order."""
        while self.waiters and (self.waiters[0].answer.done() or self.waiters[0].amount <= self.free):
            waiter = self.waiters.popleft()
            if not waiter.answer.done():
                self.take(waiter.amount)
                waiter.answer.set_result(True)

    def refuse(self, left: int) -> None:
        """The owner had not enough: whoever needs more than there is will not get it."""
        still_waiting: deque[Waiter] = deque()
        for waiter in self.waiters:
            if waiter.amount <= self.free + left:
                still_waiting.append(waiter)
            elif not waiter.answer.done():
                waiter.answer.set_result(False)
        self.waiters = still_waiting

    @property
    def _is_level(self) -> bool:
        return self.meter.kind is MeterKind.LEVEL

    def _need(self) -> int:
        """What one interval takes: its sum, but for a level the peak beyond what is in use, as returns come back."""
        need = max(self._demand, self._flow)
        return max(0, need - self.set_aside) if self._is_level else need

    def _ahead(self) -> int:
        if self._is_level:
            return self._need() + max(self._demand, self._flow) // AHEAD
        return AHEAD * max(self._need(), sum(waiter.amount for waiter in self.waiters))

    def _surplus(self, now_s: float, lease_s: float) -> int:
        """What of `free` others should have: all after an idle lease; all but an interval's need where it is scarce."""
        if self.waiters:
            return 0
        if now_s - self.touched_at_s >= lease_s:
            return self.free
        is_scarce = self.last is not None and self.last.is_scarce
        return max(0, self.free - self._need()) if is_scarce else 0
