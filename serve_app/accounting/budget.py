"""USD that may be spent outside the cluster, a day and a month, by each tenant and by all together.

Invariants: no call leaves without its whole price set aside, in all of its meters or in none; so what is spent passes a
budget at most by what running calls cost beyond their estimates, and nothing more leaves then. Money fails closed:
while the owner of the counters is away and this router's own part does not suffice, nothing is to be had.
"""

import math
import time
from collections.abc import Callable

from serve_app.contracts.allowance import Meter, MeterKind, Wallet
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.tenant import Budget, Tenant
from serve_app.contracts.vocabulary import LOCAL
from serve_app.errors import LimitReached, SharedStateUnavailable

NANO_PER_USD = 10**9
TOTAL = "*total"
"""In a tenant's place; no tenant's id begins with `*`."""


class Reservation:
    """Money set aside for one attempt. It ends with the first `settle` or `release`; later ones do nothing."""

    __slots__ = ("_amount", "_is_over", "_meters", "_wallet")

    def __init__(self, wallet: Wallet, meters: tuple[Meter, ...] = (), amount: int = 0) -> None:
        """`amount` in billionths of a USD, taken from each meter. Without meters it is free."""
        self._wallet, self._meters, self._amount = wallet, meters, amount
        self._is_over = False

    def settle(self, cost_usd: float) -> None:
        """What the attempt cost, even if more than was set aside; the rest may be spent again."""
        if self._is_over:
            return
        self._is_over = True
        used = nano_usd(cost_usd)
        for meter in self._meters:
            self._wallet.settle(meter, taken=self._amount, used=used)

    def release(self) -> None:
        """Nothing was spent."""
        self.settle(0.0)


class BudgetKeeper:
    """Reserves at an upstream's price, and knows who has nothing left.

    That a budget is out is the owner's last word, and nobody asks again while it keeps every request at home. So it is
    believed for `believed_for_s` or until the budget fills again, and then one more request may ask.
    """

    _MAX_OUT = 10_000

    def __init__(
        self,
        wallet: Wallet,
        total: Budget,
        *,
        least_usd: float = 1e-5,
        believed_for_s: float = 5.0,
        retry_floor_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`least_usd`: with less than this left, nothing worth a request is left."""
        self._wallet, self._clock = wallet, clock
        self._total = _meters(TOTAL, total)
        self._least = nano_usd(least_usd)
        self._believed_for_s, self._retry_floor_s = believed_for_s, retry_floor_s
        self._believed_until: dict[str, float] = {}

    async def reserve(
        self, tenant: Tenant, candidate: Candidate, *, num_input_tokens: int, max_output_tokens: int
    ) -> Reservation | None:
        """The price of the prompt and of the longest answer; None when it is not to be had.

        What is local is free, and so is everything where neither the tenant nor the gateway has a budget.
        """
        if candidate.upstream.place == LOCAL:
            return Reservation(self._wallet)
        price_usd = candidate.upstream.price.cost_usd(num_input_tokens, max_output_tokens)
        return await self._take_all(self._meters_of(tenant), nano_usd(price_usd))

    def is_over(self, tenant: Tenant) -> bool:
        """Nothing worth a request is left in one of the tenant's meters. Asks nobody."""
        return any(self._is_out(meter) for meter in self._meters_of(tenant))

    def left_usd(self, tenant: Tenant) -> float | None:
        """In the meter with the least, never below 0. None where nothing limits the tenant."""
        lefts = [self._left(meter) for meter in self._meters_of(tenant)]
        return max(0, min(lefts)) / NANO_PER_USD if lefts else None

    def resets_in_s(self, tenant: Tenant) -> float:
        """Until every meter that is out has filled; where none is out, until the one with the least has.

        0 where nothing limits the tenant, or nothing is known yet.
        """
        return max((self._balance_resets_in_s(meter) for meter in self._binding(tenant)), default=0.0)

    def refusal(self, tenant: Tenant) -> LimitReached:
        """For a request that only an upstream outside the cluster could answer."""
        is_total = any(meter in self._total for meter in self._binding(tenant))
        whose = "The gateway's" if is_total else "Your"
        sentence = f"{whose} budget for models outside the cluster is used up; local models still answer."
        return LimitReached("budget_exhausted", sentence, max(self.resets_in_s(tenant), self._retry_floor_s))

    async def _take_all(self, meters: tuple[Meter, ...], amount: int) -> Reservation | None:
        """In the order of `meters`, which is the same for everyone, and all of them or none."""
        taken: list[Meter] = []
        try:
            for meter in meters:
                if not await self._wallet.take(meter, amount):
                    self._believed_until.pop(meter.key, None)
                    return None
                taken.append(meter)
        except SharedStateUnavailable:
            return None
        finally:
            if len(taken) < len(meters):
                Reservation(self._wallet, tuple(taken), amount).release()
        return Reservation(self._wallet, meters, amount)

    def _is_out(self, meter: Meter) -> bool:
        if meter.capacity < self._least:
            return True
        balance = self._wallet.balance(meter)
        if balance is None or balance.left >= self._least:
            self._believed_until.pop(meter.key, None)
            return False
        now = self._clock()
        if len(self._believed_until) >= self._MAX_OUT:
            self._believed_until.clear()
        return now < self._believed_until.setdefault(meter.key, now + min(balance.resets_in_s, self._believed_for_s))

    def _binding(self, tenant: Tenant) -> list[Meter]:
        """The meters that are out; where none is, the one with the least left."""
        meters = self._meters_of(tenant)
        is_out = [meter for meter in meters if self._left(meter) < self._least]
        return is_out or sorted(meters, key=self._left)[:1]

    def _left(self, meter: Meter) -> int:
        balance = self._wallet.balance(meter)
        return meter.capacity if balance is None else balance.left

    def _balance_resets_in_s(self, meter: Meter) -> float:
        balance = self._wallet.balance(meter)
        return 0.0 if balance is None else balance.resets_in_s

    def _meters_of(self, tenant: Tenant) -> tuple[Meter, ...]:
        return _meters(tenant.id, tenant.budget) + self._total


def nano_usd(usd: float) -> int:
    """Billionths of a USD, rounded up and never below 0."""
    # First to a thousandth of one: 0.000123 USD is 123_000, not the 123_001 that binary fractions make of it.
    return math.ceil(round(max(usd, 0.0) * NANO_PER_USD, 3))


def spending_key(kind: MeterKind, owner: str) -> str:
    """The meter of what one owner (a tenant, or TOTAL) spends in a day or a month."""
    return f"spend-{kind.value}:{owner}"


def _meters(owner: str, budget: Budget) -> tuple[Meter, ...]:
    limits = ((MeterKind.DAY, budget.day_usd), (MeterKind.MONTH, budget.month_usd))
    # A budget is rounded to the nearest unit: up would be more than was granted.
    return tuple(
        Meter(spending_key(kind, owner), kind, round(usd * NANO_PER_USD)) for kind, usd in limits if usd is not None
    )
