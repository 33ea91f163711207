"""Amounts that all routers share: requests and tokens a window, requests at once, money a day and a month.

The owner of the counters lends each router a part of what is left, and the router spends its part without asking. What
is lent never exceeds what is left, so the sum holds however many callers race.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class MeterKind(StrEnum):
    """How a meter fills again."""

    RATE = "rate"  # a token bucket: `capacity` in each `window_s`, steadily
    LEVEL = "level"  # only by what is given back
    DAY = "day"  # at midnight UTC
    MONTH = "month"  # at midnight UTC on the first of a month


@dataclass(frozen=True, slots=True)
class Meter:
    """One shared amount, counted in whole units: requests, tokens, or billionths of a USD.

    `key` names it for all routers, such as `tokens:acme`. `window_s` is None but for a rate.
    """

    key: str
    kind: MeterKind
    capacity: int
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What one router tells and asks of one meter: `used` for good and `returned` since its last order, then `wanted`.

    Less than `at_least` is of no use to it: then it gets nothing.
    """

    meter: Meter
    used: int = 0
    returned: int = 0
    wanted: int = 0
    at_least: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """The answer to one order. `left` is what nobody holds now; `resets_in_s` is when all of it is there again.

    `is_scarce`: others want more than is left, so what lies idle should be given back.
    """

    key: str
    granted: int
    left: int
    resets_in_s: float
    is_scarce: bool = False


class Allowances(Protocol):
    """The owner of all meters: in the ledger's process, or in Redis."""

    async def trade(self, holder: str, lease_s: float, orders: Sequence[Order]) -> Sequence[Balance]:
        """One balance an order, in order. Renews the holder's lease: what a holder that fell silent held is free again.

        Raises SharedStateUnavailable.
        """
        ...


class Wallet(Protocol):
    """One router's part of the shared amounts."""

    async def take(self, meter: Meter, amount: int) -> bool:
        """Sets `amount` aside for one request; asks the owner only when the router's own part does not cover it.

        False when it is not to be had. Raises SharedStateUnavailable when the owner had to be asked and is not there.
        """
        ...

    def settle(self, meter: Meter, *, taken: int, used: int) -> None:
        """Ends what `take` set aside: `used` of it is gone (it may be more), the rest may be taken again."""
        ...

    def balance(self, meter: Meter) -> Balance | None:
        """The owner's last word on this meter and this router's own part together; None before the first."""
        ...
