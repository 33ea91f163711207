"""Rates and levels that one router enforces on its own while the owner of the shared counters is away.

Each meter has its whole capacity here, whatever other routers admit meanwhile. Money is never counted this way.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from serve_app.contracts.allowance import Balance, Meter, MeterKind


@dataclass(slots=True)
class _Bucket:
    left: float
    filled_at: float


class LocalLimits:
    """Implements the Wallet port for rates and levels; never raises SharedStateUnavailable and never yields.

    A level takes memory only while something of it is out; of the rates the `max_buckets` lately used are kept.
    """

    _EPSILON = 1e-6

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, max_buckets: int = 10_000) -> None:
        self._clock, self._max_buckets = clock, max_buckets
        self._out: dict[str, int] = {}
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    async def take(self, meter: Meter, amount: int) -> bool:
        if meter.kind is MeterKind.LEVEL:
            num_out = self._out.get(meter.key, 0) + amount
            if num_out > meter.capacity:
                return False
            self._out[meter.key] = num_out
            return True
        bucket = self._filled(meter)
        if amount > bucket.left + self._EPSILON:
            return False
        bucket.left -= amount
        return True

    def settle(self, meter: Meter, *, taken: int, used: int) -> None:
        if meter.kind is MeterKind.LEVEL:
            num_out = self._out.pop(meter.key, 0) - taken + used
            if num_out > 0:
                self._out[meter.key] = num_out
            return
        self._filled(meter).left += taken - used

    def balance(self, meter: Meter) -> Balance | None:
        """Never None: what nobody asked for is whole."""
        if meter.kind is MeterKind.LEVEL:
            return Balance(meter.key, 0, meter.capacity - self._out.get(meter.key, 0), 0.0)
        bucket = self._filled(meter)
        resets_in_s = (meter.capacity - bucket.left) * _window_s(meter) / meter.capacity if meter.capacity else 0.0
        return Balance(meter.key, 0, math.floor(bucket.left + self._EPSILON), resets_in_s)

    def _filled(self, meter: Meter) -> _Bucket:
        """Never above its capacity, also where more was given back than had been taken."""
        now, window_s = self._clock(), _window_s(meter)
        bucket = self._buckets.get(meter.key)
        if bucket is None:
            bucket = self._buckets[meter.key] = _Bucket(meter.capacity, now)
            if len(self._buckets) > self._max_buckets:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(meter.key)
        bucket.left = min(bucket.left + (now - bucket.filled_at) * meter.capacity / window_s, meter.capacity)
        bucket.filled_at = now
        return bucket


def _window_s(meter: Meter) -> float:
    if meter.window_s is None:
        raise ValueError(f"{meter.kind} is not for one router to enforce alone")
    return meter.window_s
