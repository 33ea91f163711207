"""When a second upstream is asked at once, and how often that may happen.

Invariant: over any run of n requests, at most max_share * n + MAX_BURST of them are hedged.
"""

from dataclasses import dataclass

from serve_app.resilience.latency import LatencyWindow

MAX_BURST = 3.0
"""What a quiet time may save up. When every upstream turns slow at once, hedges would otherwise double the load."""
_HEDGE_AT = 0.95


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """`max_share` of requests, in [0, 1]; nothing is hedged on fewer than `min_samples` observed first tokens."""

    is_enabled: bool
    max_share: float
    min_samples: int


def delay_s(policy: HedgePolicy, window: LatencyWindow) -> float | None:
    """How long to wait for the first token before a hedge: the observed p95. None: do not hedge."""
    if not policy.is_enabled or len(window) < policy.min_samples:
        return None
    return window.quantile(_HEDGE_AT)


class HedgeBudget:
    """A bucket: each request puts `max_share` in, a hedge takes 1 out. It starts empty."""

    def __init__(self, policy: HedgePolicy) -> None:
        self._per_request = policy.max_share if policy.is_enabled else 0.0
        self._level = 0.0

    def saw_request(self) -> None:
        """Once for each request, hedged or not."""
        self._level = min(MAX_BURST, self._level + self._per_request)

    def try_take(self) -> bool:
        """Whether one hedge may start; if so it is paid for, and not given back."""
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True
