"""How full this router is, and who may still enter: low priority is refused first, high priority last.

Invariant: requests in progress are never more than `capacity`, nor fewer than none.
"""

import math
import time
from collections.abc import Callable

from serve_app.contracts.vocabulary import Priority
from serve_app.errors import GatewaySaturated


class Saturation:
    """Counts the requests in progress. A priority may enter while the share in use stays within what it may use."""

    _WEIGHT = 0.1
    """Of the latest request in the running mean of how long one takes."""

    def __init__(
        self,
        capacity: int,
        shed_low_above: float,
        shed_normal_above: float,
        *,
        retry_floor_s: float = 1.0,
        max_retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The shares are of `capacity`; however small, one request may enter where none is in progress."""
        shares = {Priority.LOW: shed_low_above, Priority.NORMAL: shed_normal_above, Priority.HIGH: 1.0}
        # The small number: 0.29 of 100 is 29, not the 28 that binary fractions make of it.
        self._room = {priority: max(1, math.floor(capacity * share + 1e-9)) for priority, share in shares.items()}
        self._retry_floor_s, self._max_retry_s = retry_floor_s, max_retry_s
        self._clock = clock
        self._mean_s: float | None = None
        self.num_in_progress = 0

    def enter(self, priority: Priority) -> float:
        """When it entered, for `leave`; raises GatewaySaturated."""
        num_too_many = self.num_in_progress + 1 - self._room[priority]
        if num_too_many > 0:
            raise GatewaySaturated(self.wait_s(num_too_many, of=self.num_in_progress))
        self.num_in_progress += 1
        return self._clock()

    def leave(self, entered_at: float) -> None:
        """Once for each `enter`."""
        self.num_in_progress = max(0, self.num_in_progress - 1)
        took_s = max(0.0, self._clock() - entered_at)
        self._mean_s = took_s if self._mean_s is None else self._mean_s + self._WEIGHT * (took_s - self._mean_s)

    def wait_s(self, num_leaving: int, *, of: int) -> float:
        """Until `num_leaving` of so many requests in progress have ended, by how long requests lately took.

        Little's law: n requests that take w each end every w / n. Between the floor and the limit of the constructor.
        """
        expected_s = (self._mean_s or 0.0) * num_leaving / max(1, of)
        return min(max(expected_s, self._retry_floor_s), self._max_retry_s)
