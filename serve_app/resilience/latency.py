"""How long an upstream took of late, bounded in samples and in their age.

Invariant: samples age out, so an upstream that was slow once is unknown again, and not slow for ever.
"""

import math
import time
from collections import deque
from collections.abc import Callable

_RECOMPUTE_EVERY = 16
"""A quantile over hundreds of samples hardly moves in fewer additions, and sorting on each request would cost."""


class LatencyWindow:
    """The last `max_samples` samples of the last `max_age_s` seconds. Asked on each request: quantiles are kept."""

    def __init__(
        self, max_samples: int = 256, max_age_s: float = 300.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if max_samples < 1 or max_age_s <= 0.0:
            raise ValueError("a window needs room for a sample and time for it to stay")
        self._clock, self._max_age_s = clock, max_age_s
        self._samples: deque[tuple[float, float]] = deque(maxlen=max_samples)
        self._sorted: list[float] | None = None
        self._num_added = 0

    def __len__(self) -> int:
        """Samples young enough to count."""
        self._drop_aged()
        return len(self._samples)

    def add(self, seconds: float) -> None:
        self._samples.append((self._clock(), seconds))
        self._num_added += 1

    def quantile(self, q: float) -> float | None:
        """The smallest sample that at least a share `q` in [0, 1] of all does not exceed; None without samples.

        Up to 15 of the newest samples may not be in it yet; one that has aged never is.
        """
        self._drop_aged()
        if not self._samples:
            return None
        ordered = self._sorted
        if ordered is None or self._num_added >= _RECOMPUTE_EVERY or self._is_small(ordered):
            ordered = self._sorted = sorted(seconds for _, seconds in self._samples)
            self._num_added = 0
        return ordered[max(0, math.ceil(q * len(ordered)) - 1)]

    def median(self) -> float | None:
        return self.quantile(0.5)

    def _is_small(self, ordered: list[float]) -> bool:
        """While there are few samples each one matters, and sorting them costs nothing."""
        return self._num_added > 0 and len(ordered) < _RECOMPUTE_EVERY

    def _drop_aged(self) -> None:
        """A clock that jumped back leaves samples that seem to come from the future; those go too."""
        now_s = self._clock()
        while self._samples and not 0.0 <= now_s - self._samples[0][0] <= self._max_age_s:
            self._samples.popleft()
            self._sorted = None
