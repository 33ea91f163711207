"""A wallet that is its own owner: one shared amount a meter, and every `take` may let other callers run first."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from serve_app.contracts.allowance import Balance, Meter, MeterKind
from serve_app.errors import SharedStateUnavailable
from tests.fakes.builders import FakeClock


class FakeWallet:
    """`left`, `held` (taken and not settled) and `used`, by key. A rate fills with the clock; the others do not.

    `is_away` makes every `take` fail but those of `own_part`: keys that the router's own part still covers.
    `num_yields` says how often a `take` lets others run before it looks, and again after it took.
    """

    def __init__(self, clock: FakeClock | None = None, num_yields: Callable[[], int] = lambda: 0) -> None:
        self.clock = FakeClock() if clock is None else clock
        self.left: dict[str, float] = {}
        self.held: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.taken: list[tuple[str, int]] = []
        self.settled: list[tuple[str, int, int]] = []
        self.resets_in_s = {MeterKind.DAY: 3_600.0, MeterKind.MONTH: 86_400.0, MeterKind.LEVEL: 0.0}
        self.is_away = False
        self.own_part: set[str] = set()
        self._num_yields = num_yields
        self._filled_at: dict[str, float] = {}

    async def take(self, meter: Meter, amount: int) -> bool:
        await self._let_others_run()
        self.taken.append((meter.key, amount))
        if self.is_away and meter.key not in self.own_part:
            raise SharedStateUnavailable(1.0)
        self._fill(meter)
        if amount > self.left[meter.key] + 1e-6:
            return False
        self.left[meter.key] -= amount
        self.held[meter.key] += amount
        try:
            await self._let_others_run()
        except asyncio.CancelledError:
            self.settle(meter, taken=amount, used=0)
            raise
        return True

    def settle(self, meter: Meter, *, taken: int, used: int) -> None:
        self.settled.append((meter.key, taken, used))
        self._fill(meter)
        self.left[meter.key] += taken - used
        self.held[meter.key] -= taken
        self.used[meter.key] += used

    def balance(self, meter: Meter) -> Balance | None:
        if meter.key not in self.left:
            return None
        self._fill(meter)
        left = math.floor(self.left[meter.key] + 1e-6)
        if meter.kind is MeterKind.RATE:
            resets_in_s = (meter.capacity - self.left[meter.key]) * (meter.window_s or 0.0) / max(1, meter.capacity)
            return Balance(meter.key, 0, left, resets_in_s)
        return Balance(meter.key, 0, left, self.resets_in_s[meter.kind])

    @property
    def num_held(self) -> int:
        """Of all meters together: 0 when everything that was taken has been settled."""
        return self.held.total()

    def _fill(self, meter: Meter) -> None:
        now = self.clock()
        left = self.left.get(meter.key, float(meter.capacity))
        if meter.window_s is not None:
            elapsed_s = now - self._filled_at.get(meter.key, now)
            left = min(left + elapsed_s * meter.capacity / meter.window_s, float(meter.capacity))
        self.left[meter.key], self._filled_at[meter.key] = left, now

    async def _let_others_run(self) -> None:
        for _ in range(self._num_yields()):
            await asyncio.sleep(0)
