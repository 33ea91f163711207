"""The owner of all meters, in one process: what is spent, and what each router holds, of every shared amount.

Invariants: free = capacity - spent - what living holders hold, and no more than is free is ever lent; `used` always
counts, also beyond what was held; only a rate's refill, a period's end, a return or the end of a lease adds to what is
free. A period opens when the wall clock first shows it and none before it opens again: a clock that jumps back gives no
money back, and one that jumped forward keeps counting into the period it showed until the real one catches up.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from serve_app.contracts.allowance import Balance, Meter, MeterKind, Order
from serve_app.errors import SharedStateUnavailable

DAY_S = 86_400
NS = 1_000_000_000
ASK_AGAIN_S = 1.0
# How many of the longest untouched meters are looked at for one that may be forgotten.
EVICTION_SCAN = 32
PERIODS = (MeterKind.DAY, MeterKind.MONTH)


@dataclass(slots=True)
class _Account:
    meter: Meter
    refilled_at_ns: int
    period: int
    spent: int = 0
    carry: int = 0
    held: int = 0
    num_holders: int = 0
    scarce_until_s: float = float("-inf")

    @property
    def free(self) -> int:
        return max(0, self.meter.capacity - self.spent - self.held)

    @property
    def is_forgettable(self) -> bool:
        return self.spent == 0 and self.held == 0


@dataclass(slots=True)
class _Holder:
    """A router. `held` by meter key; amounts are above 0."""

    ends_at_s: float
    held: dict[str, int] = field(default_factory=dict)


def period_of(kind: MeterKind, unix_s: float) -> int:
    """The number of the UTC day or month that holds `unix_s`; larger is later. 0 for what has no periods."""
    match kind:
        case MeterKind.DAY:
            return int(unix_s // DAY_S)
        case MeterKind.MONTH:
            moment = _utc(unix_s)
            return moment.year * 12 + moment.month - 1
        case _:
            return 0


def period_ends_at(kind: MeterKind, period: int) -> float:
    """The Unix second at which the period's successor begins."""
    if kind is MeterKind.DAY:
        return float((period + 1) * DAY_S)
    return datetime((period + 1) // 12, (period + 1) % 12 + 1, 1, tzinfo=UTC).timestamp()


class MeterBook:
    """Implements Allowances. `clock` is monotonic, `wall_clock` Unix time, both in seconds.

    DAY and MONTH meters lend nothing until `preset` has said what was spent before this process began; their balance
    then has nothing left and asks to come again in a second. A holder's name belongs to one run of one router.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        *,
        max_meters: int = 100_000,
        max_holders: int = 1_000,
    ) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._max_meters, self._max_holders = max_meters, max_holders
        self._accounts: dict[str, _Account] = {}
        self._holders: dict[str, _Holder] = {}
        self._is_loaded = False

    @property
    def is_loaded(self) -> bool:
        return self._is_loaded

    def preset(self, *, day: Mapping[str, int], month: Mapping[str, int], as_of_unix_s: float | None = None) -> None:
        """Adds what the running day and month had spent, by meter key, to what was reported meanwhile. Call it once.

        What is in the ledger and is reported as well counts twice: the error is on the side of spending too little.
        `as_of_unix_s`: a moment of the periods that were summed, by default this one; sums of another are left out.
        """
        as_of = self._wall_clock() if as_of_unix_s is None else as_of_unix_s
        for kind, amounts in ((MeterKind.DAY, day), (MeterKind.MONTH, month)):
            for key, spent in amounts.items():
                account = self._account(Meter(key, kind, 0), may_exceed=True)
                if account is not None and account.period == period_of(kind, as_of):
                    account.spent += spent
        self._is_loaded = True

    async def trade(self, holder: str, lease_s: float, orders: Sequence[Order]) -> Sequence[Balance]:
        """As `trade_now`."""
        return self.trade_now(holder, lease_s, orders)

    def trade_now(self, holder: str, lease_s: float, orders: Sequence[Order]) -> list[Balance]:
        """One balance an order, in order; several orders may name one meter. Amounts are at least 0.

        A refill beyond `at_least` is at most half of this holder's equal part of what is free. Raises
        SharedStateUnavailable where there are more holders than `max_holders`.
        """
        now_s = self._clock()
        self._end_leases(now_s)
        if holder not in self._holders and len(self._holders) >= self._max_holders:
            raise SharedStateUnavailable(ASK_AGAIN_S)
        found = self._holders.setdefault(holder, _Holder(now_s))
        found.ends_at_s = now_s + lease_s
        return [self._trade_one(found, order, now_s, lease_s) for order in orders]

    def _trade_one(self, holder: _Holder, order: Order, now_s: float, lease_s: float) -> Balance:
        meter = order.meter
        account = self._account(meter, may_exceed=order.used > 0)
        if account is None:
            return Balance(meter.key, 0, 0, ASK_AGAIN_S)
        account.spent += order.used
        self._hold(holder, account, -min(holder.held.get(meter.key, 0), order.used + order.returned))
        if meter.kind in PERIODS and not self._is_loaded:
            return Balance(meter.key, 0, 0, ASK_AGAIN_S)
        if order.wanted and max(1, order.at_least) > account.free:
            account.scarce_until_s = now_s + lease_s
        num_sharing = account.num_holders + (meter.key not in holder.held)
        granted = fair_grant(order, account.free, num_sharing)
        self._hold(holder, account, granted)
        is_scarce = now_s < account.scarce_until_s
        return Balance(meter.key, granted, account.free, self._resets_in_s(account, lease_s), is_scarce)

    @staticmethod
    def _hold(holder: _Holder, account: _Account, change: int) -> None:
        key = account.meter.key
        before = holder.held.get(key, 0)
        after = before + change
        account.held += change
        account.num_holders += (after > 0) - (before > 0)
        if after:
            holder.held[key] = after
        else:
            holder.held.pop(key, None)

    def _end_leases(self, now_s: float) -> None:
        silent = [name for name, holder in self._holders.items() if holder.ends_at_s <= now_s]
        for name in silent:
            for key, amount in self._holders.pop(name).held.items():
                self._accounts[key].held -= amount
                self._accounts[key].num_holders -= 1

    def _account(self, meter: Meter, *, may_exceed: bool) -> _Account | None:
        """The meter's account, refilled, and last in the order of use; None where there is no room for one more."""
        account = self._accounts.pop(meter.key, None)
        if account is None:
            if len(self._accounts) >= self._max_meters and not self._forget_one() and not may_exceed:
                return None
            account = _Account(meter, self._now_ns(), period_of(meter.kind, self._wall_clock()))
        self._accounts[meter.key] = account
        account.meter = meter
        self._refill(account)
        return account

    def _forget_one(self) -> bool:
        """Forgets a full, unheld meter among those that were not used for longest; the others go to the end."""
        for key in list(self._accounts)[:EVICTION_SCAN]:
            account = self._accounts.pop(key)
            self._refill(account)
            if account.is_forgettable:
                return True
            self._accounts[key] = account
        return False

    def _refill(self, account: _Account) -> None:
        meter = account.meter
        if meter.kind is MeterKind.RATE and meter.window_s:
            now_ns = self._now_ns()
            elapsed_ns = max(0, now_ns - account.refilled_at_ns)
            refill, carry = divmod(meter.capacity * elapsed_ns + account.carry, round(meter.window_s * NS))
            account.spent, account.refilled_at_ns = max(0, account.spent - refill), now_ns
            # A full bucket collects nothing towards the next unit.
            account.carry = carry if account.spent else 0
        period = period_of(meter.kind, self._wall_clock())
        if period > account.period:
            account.spent, account.period = 0, period

    def _resets_in_s(self, account: _Account, lease_s: float) -> float:
        meter = account.meter
        match meter.kind:
            case MeterKind.RATE:
                refill_s = account.spent * (meter.window_s or 0.0) / max(1, meter.capacity)
                return max(refill_s, lease_s if account.held else 0.0)
            case MeterKind.LEVEL:
                return lease_s if account.held else 0.0
            case _:
                return max(0.0, period_ends_at(meter.kind, account.period) - self._wall_clock())

    def _now_ns(self) -> int:
        return round(self._clock() * NS)


def fair_grant(order: Order, free: int, num_sharing: int) -> int:
    """What an order gets of what is free. Half of an equal part leaves something for whoever comes next."""
    if order.at_least > min(free, order.wanted):
        return 0
    return min(order.wanted, max(order.at_least, free // (2 * num_sharing)))


def _utc(unix_s: float) -> datetime:
    # Not `fromtimestamp`: that fails for years a wrong clock may show on some platforms.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_s)
